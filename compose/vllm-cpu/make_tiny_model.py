#!/usr/bin/env python3
"""Write a Qwen3 model of 3 million random weights: small enough for tests, complete enough that vLLM serves it.

usage: make_tiny_model.py OUT_DIR          (chat_template.jinja is expected beside this script)

It has what a benchmark meets in a real model: a tokenizer trained on real text (about four characters a token in
English), a chat template with thinking and tools, a generation config with two end-of-sequence tokens. Its answers are
noise. The seed is fixed, so every build gives the same weights.
"""

import glob
import json
import os
import sys

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN = 4096, 256, 2, 4, 4, 128, 512
CONTEXT = 8192
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def train_tokenizer() -> Tokenizer:
    """Byte-level BPE over the English and the Python that every Debian system has."""
    added = [AddedToken(t, special=True, normalized=False) for t in (END_OF_TEXT, TURN_START, TURN_END)]
    added += [AddedToken(t, special=False, normalized=False) for t in MARKUP]
    texts = sorted(f for f in glob.glob("/usr/share/common-licenses/*") if not os.path.islink(f))
    texts += sorted(glob.glob(os.path.dirname(os.__file__) + "/*.py"))[:100]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB - len(added),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_tokens(added)
    if tokenizer.get_vocab_size() != VOCAB:
        sys.exit(f"the tokenizer has {tokenizer.get_vocab_size()} tokens instead of {VOCAB}: too little text in {texts}")
    return tokenizer


def random_weights(never_said: list[int]) -> dict[str, torch.Tensor]:
    """Weights under the names of Hugging Face's Qwen3. Tokens in `never_said` get a zero output row: an end of
    sequence or a tool call by chance would make answers of random length."""
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.05).to(torch.bfloat16)

    def norm(size: int) -> torch.Tensor:
        return torch.ones(size, dtype=torch.bfloat16)

    weights = {"model.embed_tokens.weight": matrix(VOCAB, HIDDEN), "model.norm.weight": norm(HIDDEN)}
    for i in range(LAYERS):
        layer = {
            "input_layernorm": norm(HIDDEN),
            "post_attention_layernorm": norm(HIDDEN),
            "self_attn.q_proj": matrix(HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj": matrix(KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": matrix(KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": matrix(HIDDEN, HEADS * HEAD_DIM),
            "self_attn.q_norm": norm(HEAD_DIM),
            "self_attn.k_norm": norm(HEAD_DIM),
            "mlp.gate_proj": matrix(FFN, HIDDEN),
            "mlp.up_proj": matrix(FFN, HIDDEN),
            "mlp.down_proj": matrix(HIDDEN, FFN),
        }
        weights |= {f"model.layers.{i}.{name}.weight": w for name, w in layer.items()}
    # An output matrix of its own: with tied embeddings a random model repeats its last token for ever.
    weights["lm_head.weight"] = matrix(VOCAB, HIDDEN)
    weights["lm_head.weight"][never_said] = 0
    return weights


def main() -> None:
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)

    def write(name: str, value: dict) -> None:
        with open(os.path.join(out, name), "w") as f:
            json.dump(value, f, indent=2)

    tokenizer = train_tokenizer()
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    ids = {t: tokenizer.token_to_id(t) for t in (END_OF_TEXT, TURN_START, TURN_END, *MARKUP)}
    with open(os.path.join(os.path.dirname(__file__), "chat_template.jinja")) as f:
        chat_template = f.read()
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template,
    })
    write("generation_config.json", {
        "do_sample": True,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
        "eos_token_id": [ids[TURN_END], ids[END_OF_TEXT]],
        "pad_token_id": ids[END_OF_TEXT],
    })
    write("config.json", {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "torch_dtype": "bfloat16",
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "intermediate_size": FFN,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rope_theta": 1000000,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": ids[END_OF_TEXT],
        "eos_token_id": ids[TURN_END],
    })
    weights = random_weights(list(ids.values()))
    file = os.path.join(out, "model.safetensors")
    save_file(weights, file, metadata={"format": "pt"})
    os.chmod(file, 0o644)
    print(f"{out}: {sum(w.numel() for w in weights.values()):,} weights")


if __name__ == "__main__":
    main()
