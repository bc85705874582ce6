#!/usr/bin/env python3
"""Compares vgrid's streaming client with both of `vllm bench serve`, on the same server with the same streams.

    python3 benches/peers.py [ROUNDS]        # 3

Builds the benchmark of the client (release), fetches the vLLM wheel (320 MB, once; two files of it are used: the Python module that
sends requests and takes their times, and the program vllm-rs, whose `bench serve` does the same in Rust) and what that module
imports, with pip as you have configured it. The server runs on the first core, each client alone on the second. The clients take
turns, case by case; the table has the medians of all rounds. docs/client.md explains it.

    VGRID_PEERS_WORK        where files are kept; default: ~/.cache/vgrid/peers
    VGRID_PEERS_CLIENT      a built benchmark to use, instead of building one: target/release/deps/client-...
"""

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
import urllib.request
import zipfile

VLLM = "0.32.0"
NEEDED = ["aiohttp==3.14.5", "regex==2026.11.15", "tqdm==4.70.1"]
MODULE = "vllm/benchmarks/lib/endpoint_request_func.py"
PROGRAM = "vllm/vllm-rs"
WORK = pathlib.Path(os.environ.get("VGRID_PEERS_WORK", "~/.cache/vgrid/peers")).expanduser()
ROOT = pathlib.Path(__file__).resolve().parent.parent

# As in benches/client/case.rs.
TOKENS = ["token ", " na\u00efve", "\n", '"quoted" ', "\U0001f600", '{"a": [', "\\", "data: "]


# --- the peer in Python, in a process of its own ---------------------------------------------------------------------------


def request_module():
    spec = importlib.util.spec_from_file_location("endpoint_request_func", WORK / MODULE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def play_of(case):
    return {key: case[key] for key in ("chunks", "tokens_per_chunk", "gap_us", "split")}


async def streams(module, session, address, case):
    """The requests as `vllm bench serve` sends them, begun as vgrid's benchmark begins its own."""

    async def one(index):
        if case["gap_us"]:
            await asyncio.sleep(index / case["streams"])
        play = {"id": str(index)} | play_of(case)
        return await module.async_request_openai_chat_completions(
            module.RequestFuncInput(
                prompt="hi", api_url=f"http://{address}/v1/chat/completions", prompt_len=1,
                output_len=case["chunks"] * case["tokens_per_chunk"], model="m", extra_body={"play": play},
            ),
            session,
        )

    return await asyncio.gather(*(one(index) for index in range(case["streams"])))


async def peer(address, case):
    import aiohttp

    module = request_module()
    # as vllm/benchmarks/serve.py makes it
    connector = aiohttp.TCPConnector(
        limit=0, limit_per_host=0, ttl_dns_cache=300, use_dns_cache=True, keepalive_timeout=60,
        force_close=False, ssl=False,
    )
    timeout = aiohttp.ClientTimeout(total=6 * 60 * 60)
    async with aiohttp.ClientSession(connector=connector, trust_env=True, timeout=timeout) as session:

        async def truth():
            async with session.get(f"http://{address}/truth") as response:
                return await response.json(content_type=None)

        await streams(module, session, address, case | {"chunks": 20, "gap_us": 1_000})
        server_before = (await truth())["waited_us"]
        zero_s = time.time() - time.perf_counter()
        cpu_before, waited_before = time.process_time(), waited_us()
        outputs = await streams(module, session, address, case)
        cpu_s, waited = time.process_time() - cpu_before, waited_us() - waited_before
        told = await truth()
        waited_ms = [waited / 1e3, (told["waited_us"] - server_before) / 1e3]
        return row(case, outputs, told["requests"], zero_s, cpu_s) | {"waited_ms": waited_ms}


def waited_us():
    """How long this process was ready to run while others had the processor."""
    threads = pathlib.Path("/proc/self/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[1]) for thread in threads) / 1e3


# --- the peer in Rust ------------------------------------------------------------------------------------------------------

# vllm-rs counts the tokens of its prompts itself: all that this tokenizer knows is one word.
TOKENIZER = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}

# A round takes 10 s at most. Events glued together at a read's end are kept for the rest of the stream and searched again at every
# read: in a long stream that takes minutes.
RUST_LIMIT_S = 60


def rust_peer(address, case):
    """All its requests have one `play`: a prompt is its request's number. Of the program's time only that between its first request
    and its last answer counts: it asks for /metrics then, and the server notes what the kernel says of it."""
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        (place / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        prompts = [json.dumps({"prompt": str(index)}) for index in range(case["streams"])]
        (place / "prompts.jsonl").write_text("\n".join(prompts))
        streams, tokens = str(case["streams"]), str(case["chunks"] * case["tokens_per_chunk"])
        command = [
            str(WORK / PROGRAM), "bench", "serve", "--backend", "openai-chat", "--base-url", f"http://{address}", "--model", "m",
            "--tokenizer", name, "--dataset-name", "custom", "--dataset-path", str(place / "prompts.jsonl"), "--disable-shuffle",
            "--num-prompts", streams, "--custom-output-len", tokens, "--num-warmups", streams, "--disable-tqdm",
            "--save-result", "--save-detailed", "--result-dir", name, "--result-filename", "result.json",
            # constant gaps: the n-th of N streams begins n/N s after the first moment, where the others' begin at (n-1)/N s
            *(["--request-rate", streams, "--burstiness", "inf"] if case["gap_us"] else []),
        ]
        child = os.fork()  # its own number is in what it sends
        if child == 0:
            try:
                log = os.open(place / "log", os.O_WRONLY | os.O_CREAT)
                os.dup2(log, 1)
                os.dup2(log, 2)
                resource.setrlimit(resource.RLIMIT_CPU, (RUST_LIMIT_S, RUST_LIMIT_S))
                body = {"play": play_of(case) | {"client": os.getpid()}}
                os.execve(command[0], [*command, "--extra-body", json.dumps(body)], os.environ | {"HF_HUB_OFFLINE": "1"})
            finally:
                os._exit(127)
        _, status, usage = os.wait4(child, 0)
        if os.WIFSIGNALED(status):
            return gave_up(case, address, usage.ru_utime + usage.ru_stime)
        if status != 0:
            sys.exit(f"{PROGRAM} failed: {(place / 'log').read_text()}")
        result = json.loads((place / "result.json").read_text())
    told = truth_of(address)
    outputs = [
        types.SimpleNamespace(success=not error, error=error, ttft=ttft, itl=itl, generated_text=text)
        for error, ttft, itl, text in zip(result["errors"], result["ttfts"], result["itls"], result["generated_texts"])
    ]
    before, after = told["marks"]
    cpu_us, client_us = (after["client"][key] - before["client"][key] for key in ("cpu_us", "waited_us"))
    waited_ms = [client_us / 1e3, (after["server_waited_us"] - before["server_waited_us"]) / 1e3]
    # when its clock began is not in its results: only lengths of time can be compared
    return row(case, outputs, told["requests"], None, cpu_us / 1e6) | {"waited_ms": waited_ms}


def truth_of(address):
    with urllib.request.urlopen(f"http://{address}/truth") as response:
        return json.load(response)


def gave_up(case, address, cpu_s):
    """The row of a program that was ended at its limit: nothing received."""
    truth_of(address)  # forgets the requests and the process
    error = f"{PROGRAM} was ended after {cpu_s:.0f} s of CPU time"
    output = types.SimpleNamespace(success=False, error=error, ttft=0.0, itl=[], generated_text="")
    return row(case, [output] * case["streams"], {}, None, cpu_s) | {"waited_ms": [float("nan")] * 2}


# --- what either peer gave -------------------------------------------------------------------------------------------------


def row(case, outputs, truths, zero_s, cpu_s):
    tokens = case["chunks"] * case["tokens_per_chunk"]
    expected = "".join(TOKENS[i % len(TOKENS)] for i in range(tokens))
    received, ttft_errors, asking, late = 0, [], [], []
    for index, output in enumerate(outputs):
        truth = truths.get(str(index))
        if not output.ttft or not truth:
            continue
        received += 1 + len(output.itl)
        ttft_errors.append(output.ttft * 1e3 - (truth["written_us"][0] - truth["arrived_us"]) / 1e3)
        if zero_s is None:
            continue
        asking.append(truth["arrived_us"] / 1e3 - (zero_s + output.start_time) * 1e3)
        at = zero_s + output.start_time + output.ttft
        for gap, written_us in zip([0.0, *output.itl], truth["written_us"]):
            at += gap
            late.append(at * 1e3 - written_us / 1e3)
    sent = case["streams"] * case["chunks"]
    return {
        "name": case["name"], "streams": case["streams"], "complete": sum(output.success for output in outputs),
        "chunks_sent": sent, "chunks_lost": max(0, sent - received),
        "texts_wrong": sum(output.generated_text != expected for output in outputs),
        "cpu_us_per_chunk": cpu_s * 1e6 / max(1, received),
        "ttft_error_ms": percentiles(ttft_errors), "asking_ms": percentiles(asking), "late_ms": percentiles(late),
        "tokens_per_chunk": case["tokens_per_chunk"],
        "error": next((output.error.strip().splitlines()[-1] for output in outputs if output.error), ""),
    }


def percentiles(values):
    values.sort()
    return [values[round((len(values) - 1) * q)] if values else float("nan") for q in (0.5, 0.99)]


# --- all, side by side -----------------------------------------------------------------------------------------------------


def build_client():
    command = [os.environ.get("CARGO", "cargo"), "bench", "--locked", "--bench", "client", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    found = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "client"]
    return found[-1]


def fetch_peer():
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    packages = WORK / "packages"
    if not packages.is_dir():
        part = WORK / "packages.part"
        subprocess.run([*pip, "install", "--target", str(part), *NEEDED], check=True)
        part.rename(packages)
    if not all((WORK / member).is_file() for member in (MODULE, PROGRAM)):
        wheels = WORK / "wheel"
        subprocess.run(
            [*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", str(wheels), f"vllm=={VLLM}"], check=True
        )
        wheel = next(wheels.glob(f"vllm-{VLLM}*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(MODULE, WORK)
            pathlib.Path(archive.extract(PROGRAM, WORK)).chmod(0o755)
        wheel.unlink()
    return packages


def on_core(number):
    cores = sorted(os.sched_getaffinity(0))

    def pin():
        os.sched_setaffinity(0, {cores[min(number, len(cores) - 1)]})

    return pin


def main(rounds):
    WORK.mkdir(parents=True, exist_ok=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    packages = fetch_peer()
    client = os.environ.get("VGRID_PEERS_CLIENT") or build_client()
    # a proxy of the environment would stand between the peer and 127.0.0.1; vgrid's client knows none
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PYTHONPATH"] = str(packages)
    cases = [json.loads(line) for line in subprocess.check_output([client, "--cases"], text=True).splitlines()]
    peers = [sys.executable, str(pathlib.Path(__file__).resolve())]
    clients = [
        ("vgrid", [client, "--connect"]), ("vllm, Python", [*peers, "--connect"]), ("vllm, Rust", [*peers, "--connect-rust"])
    ]
    server = subprocess.Popen([client, "--serve"], stdout=subprocess.PIPE, text=True, preexec_fn=on_core(0))
    try:
        address = server.stdout.readline().strip()
        version = next(p.metadata["Version"] for p in importlib.metadata.distributions(path=[str(packages)])
                       if p.metadata["Name"] == "aiohttp")
        print(f"vLLM {VLLM}, aiohttp {version}, Python {platform.python_version()}; {os.cpu_count()} cores, "
              f"{rounds} rounds, load average {os.getloadavg()[0]:.1f} at the start\n")
        print("| case | client | CPU us/chunk | of it reading | tokens/s/core | TTFT error ms, p50 / p99 | of it asking "
              "| stamps late ms, p50 / p99 | chunks lost | failed streams | wrong texts | waited for a core ms, client / server |")
        print("| --- " * 12 + "|")
        for case in cases:
            rows = {name: [] for name, _ in clients}
            for _ in range(rounds):
                for name, command in clients:
                    done = subprocess.run(
                        [*command, address, json.dumps(case)], check=True, stdout=subprocess.PIPE, text=True,
                        env=environment, preexec_fn=on_core(1),
                    )
                    rows[name].append(json.loads(done.stdout.splitlines()[-1]))
            for name, of_client in rows.items():
                show(name, of_client)
        print(f"\nload average {os.getloadavg()[0]:.1f} at the end")
    finally:
        server.kill()
        server.wait()


def show(name, rows):
    def median(key, at=None):
        values = [row.get(key) if at is None else row[key][at] for row in rows]
        if None in values:
            return None
        return statistics.median([value for value in values if value == value] or [float("nan")])

    def pair(key):
        values = (median(key, 0), median(key, 1))
        return " / ".join("-" if value is None or value != value else f"{value:.2f}" for value in values)

    def total(key, of):
        part = sum(row[key] for row in rows)
        return f"{part} of {sum(row[of] for row in rows)}" if part else "0"

    one = rows[0]
    cpu, bare = [row["cpu_us_per_chunk"] for row in rows], median("bare_us_per_chunk")
    failed = sum(row["streams"] - row["complete"] for row in rows)
    print(f"| {one['name']} | {name} | {statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f}) "
          f"| {'' if bare is None else f'{bare:.2f}'} "
          f"| {1e6 / statistics.median(cpu) * one['tokens_per_chunk']:,.0f} | {pair('ttft_error_ms')} | {pair('asking_ms')} "
          f"| {pair('late_ms')} | {total('chunks_lost', 'chunks_sent')} | {failed or 0} | {total('texts_wrong', 'streams')} "
          f"| {median('waited_ms', 0):.0f} / {median('waited_ms', 1):.0f} |", flush=True)
    for error in {row["error"] for row in rows if row.get("error")}:
        print(f"  (the first error of a round: {error})", file=sys.stderr)


if __name__ == "__main__":
    match sys.argv[1:]:
        case "--connect", address, text:
            print(json.dumps(asyncio.run(peer(address, json.loads(text)))))
        case "--connect-rust", address, text:
            print(json.dumps(rust_peer(address, json.loads(text))))
        case []:
            main(3)
        case [rounds] if rounds.isdigit() and int(rounds) > 0:
            main(int(rounds))
        case _:
            sys.exit(__doc__)
