//! One spelling per value, so that what was asked for and what the engine prints can be compared.

use crate::domain::leading_number;

/// The canonical form of a setting's value: `True` and `on`, `0.90` and `0.9`, `32k` and `32000`, `fp8` and `fp8_e4m3` agree.
#[must_use]
pub fn canonical(name: &str, value: &str) -> String {
    let value = value.trim();
    let lower = value.to_lowercase();
    match lower.as_str() {
        "true" => return "on".to_owned(),
        "false" => return "off".to_owned(),
        _ => {}
    }
    if let Some(number) = number(value) {
        return format!("{number}");
    }
    match name {
        "kv-cache-dtype" => match lower.as_str() {
            "fp8_e4m3" => "fp8".to_owned(),
            "bf16" => "bfloat16".to_owned(),
            _ => lower,
        },
        "dtype" => match lower.as_str() {
            "half" | "fp16" => "float16".to_owned(),
            "float" | "fp32" => "float32".to_owned(),
            "bf16" => "bfloat16".to_owned(),
            _ => lower,
        },
        "attention-backend" | "attention_backend" => lower.replace([' ', '-', '_'], ""),
        "distributed-executor-backend" | "load-format" | "quantization" | "scheduling-policy" => lower,
        _ => value.to_owned(),
    }
}

/// Whether two spellings of a setting mean the same. A value that leaves the choice to the engine agrees with any.
#[must_use]
pub fn same_value(name: &str, asked: &str, says: &str) -> bool {
    let (asked, says) = (canonical(name, asked), canonical(name, says));
    if asked == says {
        return true;
    }
    match name {
        // The engine may choose a faster kernel for the same format.
        "quantization" => says.strip_prefix(&asked).is_some_and(|rest| rest.starts_with('_')),
        "max-model-len" => asked == "auto" || asked == "-1",
        _ => asked == "auto" || says == "auto",
    }
}

/// A number, also as vLLM reads it from people: `32k` is 32,000 and `32K` is 32,768.
fn number(text: &str) -> Option<f64> {
    let (value, length) = leading_number(text)?;
    if text[..length].contains(',') {
        return None;
    }
    let scale = match &text[length..] {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "K" => 1024.0,
        "M" => 1024.0 * 1024.0,
        "G" => 1024.0 * 1024.0 * 1024.0,
        "T" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(value * scale).filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_value_agree_and_others_do_not() {
        for (name, a, b) in [
            ("enable-prefix-caching", "on", "True"),
            ("gpu-memory-utilization", "0.90", "0.9"),
            ("max-model-len", "32k", "32000"),
            ("max-model-len", "32K", "32768"),
            ("kv-cache-dtype", "fp8", "fp8_e4m3"),
            ("dtype", "half", "float16"),
            ("max-model-len", "auto", "4096"),
            ("quantization", "awq", "awq_marlin"),
            ("attention-backend", "FLASH_ATTN", "Flash Attn"),
        ] {
            assert!(same_value(name, a, b), "{name}: {a} {b}");
        }
        for (name, a, b) in [
            ("enable-prefix-caching", "on", "off"),
            ("gpu-memory-utilization", "0.91", "0.9"),
            ("max-model-len", "32k", "32768"),
            ("quantization", "awq", "gptq"),
        ] {
            assert!(!same_value(name, a, b), "{name}: {a} {b}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(name in "dtype|kv-cache-dtype|max-model-len|x", value in "\\PC{0,12}|[0-9.kKe-]{0,8}") {
            let once = canonical(&name, &value);
            prop_assert_eq!(canonical(&name, &once), once);
        }
    }
}
