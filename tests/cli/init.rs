//! `init`: the grid that it writes is valid as it is, and says what the service runs.

use super::common::{Scene, root};

const VLLM: &str = "\
name: prod
services:
  vllm:
    image: vllm/vllm-openai:v0.10
    command: >-
      --model /models/m --max-num-seqs 16 --gpu-memory-utilization 0.9 --enable-auto-tool-choice --tool-call-parser qwen3_xml
      --api-key ${VLLM_API_KEY:-sk-very-secret}
    environment: { HF_TOKEN: hf_very_secret }
  db: { image: postgres }
";

#[test]
fn the_grid_it_writes_passes_the_check_and_keeps_the_deployment_as_its_baseline() {
    let scene = Scene::new();
    scene.write("compose.yml", VLLM);
    let done = scene.run(["init"]).ok();
    done.says(&["wrote grid.yaml", "12 configs", "service vllm"]);
    let text = std::fs::read_to_string(scene.folder().join("grid.yaml")).unwrap();
    for part in [
        "max-num-seqs: [8, 16, 32]",
        "tool-call-parser: [hermes, qwen3_xml]",
        "gpu-memory-utilization: [0.85, 0.90, 0.93]",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    for part in ["suite: quick", "# gates:", "objectives:", "baseline: as_deployed", "#   api-key: ***"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("very-secret") && !text.contains("very_secret"), "{text}");
    passes_without_a_warning(&scene, "grid.yaml");
    let plan = scene.run(["plan", "grid.yaml", "--json"]).ok().json_lines();
    assert_eq!(plan[0]["baseline"], "as_deployed");
    assert_eq!(plan[1]["argv_diff"], "", "the baseline changes nothing");
}

#[test]
fn it_overwrites_nothing_unless_told_to() {
    let scene = Scene::new();
    scene.write("compose.yml", VLLM);
    scene.write("grid.yaml", "mine\n");
    scene.run(["init"]).code(1).says(&["grid.yaml is there already", "--force"]);
    assert_eq!(std::fs::read_to_string(scene.folder().join("grid.yaml")).unwrap(), "mine\n");
    scene.run(["init", "-o", "other.yaml"]).ok();
    scene.run(["init", "--force"]).ok();
    assert!(std::fs::read_to_string(scene.folder().join("grid.yaml")).unwrap().contains("as_deployed"));
}

#[test]
fn several_engines_or_none_are_named_and_one_can_be_chosen() {
    let scene = Scene::new();
    scene.run(["init"]).code(1).says(&["no compose file", "-f"]);
    let two = format!("{VLLM}  second: {{ image: \"vllm/vllm-openai:v0.9\", command: [--model, n] }}\n");
    scene.write("two.yml", &two);
    scene.run(["init", "-f", "two.yml"]).code(1).says(&[
        "several services look like vLLM",
        "vllm, second",
        "--service",
    ]);
    scene.run(["init", "-f", "two.yml", "--service", "secon"]).code(1).says(&["did you mean `second`?"]);
    scene.run(["init", "-f", "two.yml", "--service", "second"]).ok().says(&["service second"]);
    scene.write("none.yml", "services: { db: { image: postgres } }\n");
    scene.run(["init", "-f", "none.yml", "-o", "n.yaml"]).code(1).says(&["looks like vLLM", "db"]);
}

#[test]
fn a_shell_script_gets_a_grid_whose_axes_are_comments() {
    let scene = Scene::new();
    scene.write(
        "compose.yml",
        "services:\n  vllm:\n    image: vllm/x\n    entrypoint: [sh, -c]\n    command: [\"exec vllm serve m\"]\n",
    );
    scene.run(["init"]).ok().says(&["1 configs"]);
    scene.run(["check", "grid.yaml", "--files-only"]).ok();
}

#[test]
fn the_shipped_compose_files_get_grids_that_pass_the_check() {
    let scene = Scene::new();
    std::fs::create_dir(scene.folder().join("grids")).unwrap();
    for name in ["quickstart", "campaign-2025", "vllm-cpu"] {
        let file = root().join(format!("compose/{name}.yml"));
        let grid = format!("grids/{name}.yaml");
        scene.run(["init".as_ref(), "-f".as_ref(), file.as_os_str(), "-o".as_ref(), grid.as_ref()]).ok();
        passes_without_a_warning(&scene, &grid);
    }
}

fn passes_without_a_warning(scene: &Scene, grid: &str) {
    let checked = scene.run(["check", grid, "--files-only", "--json"]).ok().json();
    assert_eq!(checked["diagnostics"], serde_json::json!([]), "{grid}");
}

#[test]
fn a_service_whose_axes_are_off_or_far_from_theirs_gets_a_grid_without_a_warning_too() {
    for flags in [
        "--no-enable-prefix-caching --max-num-seqs 1",
        "--enable-chunked-prefill",
        "--kv-cache-dtype fp8 --max-num-seqs 64",
    ] {
        let scene = Scene::new();
        scene.write("compose.yml", &format!("services: {{ vllm: {{ image: vllm/x, command: --model m {flags} }} }}\n"));
        scene.run(["init"]).ok();
        passes_without_a_warning(&scene, "grid.yaml");
    }
}

#[test]
fn a_variable_that_nobody_set_is_named_and_the_grid_is_written_all_the_same() {
    let scene = Scene::new();
    let command = "--model m --api-key ${MY_UNSET_KEY} --max-num-seqs ${MY_UNSET_SEQS:?how many}";
    scene.write("compose.yml", &format!("services: {{ vllm: {{ image: vllm/x, command: '{command}' }} }}\n"));
    scene.run(["init"]).ok().says(&["wrote grid.yaml", "set MY_UNSET_SEQS, MY_UNSET_KEY"]);
    let text = std::fs::read_to_string(scene.folder().join("grid.yaml")).unwrap();
    for part in [
        "# Set MY_UNSET_SEQS, MY_UNSET_KEY first",
        "max-num-seqs: ${MY_UNSET_SEQS}",
        "max-num-seqs: [default, 32, 128]",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("4100"), "{text}");
    scene.run(["check", "grid.yaml", "--files-only"]).code(1).says(&["MY_UNSET_SEQS"]);
    scene.write(".env", "MY_UNSET_KEY=k\nMY_UNSET_SEQS=8\n");
    passes_without_a_warning(&scene, "grid.yaml");
}
