//! Tests of the conversion from a service to the create body.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::*;
use crate::compose::{ProjectNetwork, ProjectVolume};
use crate::domain::{ConfigKey, SweepId};
use crate::launch::spec::{ProjectPart, TrialLabels};

fn spec(service: Value) -> LaunchSpec {
    let network = ProjectNetwork { name: "shared-net".into(), external: true, ..ProjectNetwork::default() };
    let volume = ProjectVolume { name: "proj_models".into(), ..ProjectVolume::default() };
    LaunchSpec {
        project: ProjectPart {
            name: "proj".into(),
            working_dir: "/srv/proj".into(),
            config_files: vec!["/srv/proj/a.yml".into(), "/srv/proj/b.yml".into()],
            networks: [("shared".to_owned(), network)].into_iter().collect(),
            volumes: [("models".to_owned(), volume)].into_iter().collect(),
        },
        service_name: "vllm".into(),
        service: serde_json::from_value(service).unwrap(),
        labels: TrialLabels { db: "d".into(), sweep: SweepId(3), trial_id: 7, attempt: 1, key: ConfigKey("k".into()) },
        image: "sha256:abc".into(),
        container_name: "vgrid-x".into(),
        log_path: "/nowhere".into(),
        redactor: crate::domain::Redactor::default(),
        server_port: None,
    }
}

fn converted_at(service: Value, api: (usize, usize)) -> Result<CreatePlan, LaunchError> {
    let ids = HashMap::from([("engine".to_owned(), "0123".to_owned())]);
    create_plan(&spec(service), &CreateContext { api, own_env: &|_| None, service_ids: &ids })
}

fn body(service: Value) -> Value {
    serde_json::to_value(converted_at(service, (1, 41)).unwrap().body).unwrap()
}

#[test]
fn the_campaigns_service_becomes_the_body_that_compose_would_send() {
    let service = json!({
        "command": ["--model", "/models/qwen", "--max-model-len", "131072"],
        "entrypoint": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "container_name": "qwen",
        "environment": {"HF_HOME": "/cache", "OPEN": null},
        "ipc": "host", "shm_size": "17179869184", "init": true, "runtime": "nvidia", "stop_grace_period": "1m30s",
        "ports": [{"mode": "ingress", "host_ip": "127.0.0.1", "target": 8000, "published": "5002", "protocol": "tcp"}],
        "volumes": [
            {"type": "bind", "source": "/models", "target": "/models", "read_only": true, "bind": {"create_host_path": true}},
            {"type": "volume", "source": "models", "target": "/root/.cache", "volume": {}}
        ],
        "deploy": {"resources": {
            "limits": {"cpus": 4.5, "memory": "34359738368"},
            "reservations": {"devices": [{"driver": "nvidia", "device_ids": ["0", "1"], "capabilities": ["gpu"]}]}}, "placement": {}},
        "healthcheck": {"test": ["CMD", "curl", "-f", "http://localhost:8000/health"], "interval": "30s", "timeout": "10s", "retries": 3, "start_period": "4m0s"},
        "ulimits": {"memlock": -1, "nofile": {"soft": 1024, "hard": 2048}},
        "restart": "unless-stopped",
        "networks": {"default": null}
    });
    let got = body(service);
    let host = &got["HostConfig"];
    assert_eq!(got["Cmd"][1], "/models/qwen");
    assert_eq!(got["Entrypoint"][0], "python3");
    assert_eq!(got["Env"], json!(["HF_HOME=/cache"]));
    assert_eq!(got["StopTimeout"], 90);
    assert_eq!(got["ExposedPorts"], json!({"8000/tcp": {}}));
    assert_eq!(got["Healthcheck"]["StartPeriod"], 240_000_000_000_i64);
    assert_eq!(host["PortBindings"], json!({"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5002"}]}));
    assert_eq!(host["RestartPolicy"], json!({"Name": "no"}));
    assert_eq!(host["NetworkMode"], "proj_default");
    assert_eq!(
        (&host["IpcMode"], &host["ShmSize"], &host["Init"], &host["Runtime"]),
        (&json!("host"), &json!(17_179_869_184_i64), &json!(true), &json!("nvidia"))
    );
    assert_eq!((&host["NanoCpus"], &host["Memory"]), (&json!(4_500_000_000_i64), &json!(34_359_738_368_i64)));
    assert_eq!(
        host["DeviceRequests"],
        json!([{"Driver": "nvidia", "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]]}])
    );
    assert_eq!(host["Mounts"][0], json!({"Type": "bind", "Source": "/models", "Target": "/models", "ReadOnly": true}));
    assert_eq!(host["Mounts"][1], json!({"Type": "volume", "Source": "proj_models", "Target": "/root/.cache"}));
    assert_eq!(
        host["Ulimits"],
        json!([{"Name": "memlock", "Soft": -1, "Hard": -1}, {"Name": "nofile", "Soft": 1024, "Hard": 2048}])
    );
    assert_eq!(got["NetworkingConfig"]["EndpointsConfig"]["proj_default"]["Aliases"], json!(["vllm", "qwen"]));
}

#[test]
fn the_labels_make_it_compose_s_container_and_ours() {
    let got = body(
        json!({"labels": {"mine": "1"}, "depends_on": {"db": {"condition": "service_healthy", "required": true}}}),
    );
    let labels: BTreeMap<String, String> = serde_json::from_value(got["Labels"].clone()).unwrap();
    for (name, value) in [
        ("mine", "1"),
        ("com.docker.compose.project", "proj"),
        ("com.docker.compose.service", "vllm"),
        ("com.docker.compose.oneoff", "False"),
        ("com.docker.compose.container-number", "1"),
        ("com.docker.compose.project.working_dir", "/srv/proj"),
        ("com.docker.compose.project.config_files", "/srv/proj/a.yml,/srv/proj/b.yml"),
        ("com.docker.compose.depends_on", "db:service_healthy:false"),
        ("io.vgrid.role", "trial"),
        ("io.vgrid.sweep", "3"),
        ("io.vgrid.trial", "7"),
        ("io.vgrid.key", "k"),
    ] {
        assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(labels["com.docker.compose.config-hash"].len(), 64);
}

/// Every field of the service set to something; whatever is forgotten in the conversion changes nothing in the body.
const EVERY_FIELD: &str = r#"{
    "cap_add": ["SYS_NICE"], "cap_drop": ["MKNOD"], "command": ["serve"], "cpus": 2.0, "cpuset": "0-1", "deploy": {"resources": {}, "placement": {}},
    "depends_on": {"db": {"condition": "service_started"}},
    "devices": [{"source": "/dev/fuse", "target": "/dev/fuse", "permissions": "rwm"}], "dns": ["10.0.0.2"], "entrypoint": ["vllm"],
    "environment": {"A": "1"}, "expose": ["9000-9001"], "extra_hosts": ["far=10.0.0.9"], "gpus": [{"count": -1}], "group_add": ["video"],
    "healthcheck": {"disable": true}, "hostname": "h", "init": true, "ipc": "service:engine", "labels": {"l": "1"},
    "logging": {"driver": "json-file", "options": {"max-size": "10m"}}, "mem_limit": "1", "mem_reservation": "2", "memswap_limit": "3",
    "network_mode": "service:engine", "networks": {"shared": {"aliases": ["alias"]}}, "oom_kill_disable": true, "oom_score_adj": 5, "pid": "host", "pids_limit": 9,
    "platform": "linux/amd64", "ports": [{"target": 1, "protocol": "udp"}], "privileged": true, "read_only": true, "runtime": "nvidia",
    "security_opt": ["no-new-privileges"], "shm_size": "4", "stdin_open": true, "stop_grace_period": "5s", "stop_signal": "SIGINT",
    "sysctls": {"net.core.somaxconn": "5"}, "tmpfs": ["/run:size=1m"], "tty": true, "ulimits": {"core": 0}, "user": "1000", "userns_mode": "host",
    "volumes": [{"type": "tmpfs", "target": "/scratch", "tmpfs": {"size": "99", "mode": 448}}], "working_dir": "/w", "container_name": "fixed"
}"#;

/// Fields that say when or whether to run, or how the image is built, not how the container is made. What stands in `rest` is
/// refused when the compose files are loaded.
const NOT_OF_THE_CONTAINER: [&str; 6] = ["build", "image", "profiles", "pull_policy", "rest", "restart"];

#[test]
fn no_field_of_a_service_is_dropped() {
    let all: serde_json::Map<String, Value> = serde_json::from_str(EVERY_FIELD).unwrap();
    let empty = format!("{:?}", converted_at(json!({}), (1, 41)).unwrap());
    let without_hash = |plan: String, service: &Value| {
        let service: crate::compose::Service = serde_json::from_value(service.clone()).unwrap();
        let json = serde_json::to_vec(&service).unwrap();
        use sha2::Digest;
        let hash: String = sha2::Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
        plan.replace(&hash, "HASH")
    };
    let sorted = |text: String| {
        let mut chars: Vec<char> = text.chars().collect();
        chars.sort_unstable();
        chars.into_iter().collect::<String>()
    };
    let empty = sorted(without_hash(empty, &json!({})));
    for (field, value) in &all {
        if field == "deploy" {
            continue; // its parts are in the first test
        }
        let service = json!({ field: value });
        let plan = without_hash(format!("{:?}", converted_at(service.clone(), (1, 41)).unwrap()), &service);
        assert_ne!(sorted(plan), empty, "`{field}` changes nothing");
    }
    // A field added to the type later must be added here, and then to the conversion.
    let typed: crate::compose::Service = serde_json::from_str(EVERY_FIELD).unwrap();
    let typed = serde_json::to_value(&typed).unwrap();
    let declared: std::collections::BTreeSet<&String> = typed.as_object().unwrap().keys().collect();
    assert_eq!(declared.len(), all.len(), "unknown fields in EVERY_FIELD");
    let source = include_str!("../compose/service.rs");
    let service = source.split("pub struct Service {").nth(1).unwrap().split("\n}").next().unwrap();
    for line in service.lines().filter_map(|line| line.trim().strip_prefix("pub ")) {
        let name = line.split(':').next().unwrap();
        assert!(all.contains_key(name) || NOT_OF_THE_CONTAINER.contains(&name), "`{name}` is not tested");
    }
}

#[test]
fn service_modes_point_at_the_container_and_absent_services_are_errors() {
    assert_eq!(body(json!({"network_mode": "service:engine"}))["HostConfig"]["NetworkMode"], "container:0123");
    assert_eq!(body(json!({"network_mode": "host"}))["HostConfig"]["NetworkMode"], "host");
    let error = converted_at(json!({"ipc": "service:nobody"}), (1, 41)).unwrap_err();
    assert!(error.message.contains("nobody") && error.help.is_some(), "{error}");
}

#[test]
fn the_second_network_is_joined_before_the_start() {
    let plan = converted_at(
        json!({"networks": {"default": null, "shared": {"aliases": ["llm"], "ipv4_address": "10.1.0.5"}}}),
        (1, 41),
    )
    .unwrap();
    assert_eq!(plan.more_networks.len(), 1);
    let (name, endpoint) = &plan.more_networks[0];
    assert_eq!(name, "shared-net");
    assert_eq!(endpoint.aliases.as_deref(), Some(&["vllm".to_owned(), "llm".to_owned()][..]));
    assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address.as_deref(), Some("10.1.0.5"));
}

#[test]
fn the_network_of_the_highest_priority_comes_first_and_a_recursive_option_is_refused() {
    let plan = converted_at(json!({"networks": {"default": null, "shared": {"priority": 10}}}), (1, 41)).unwrap();
    assert_eq!(plan.more_networks.len(), 1);
    assert_ne!(plan.more_networks[0].0, "shared-net");
    let mount = json!([{"type": "bind", "source": "/", "target": "/host", "bind": {"recursive": "disabled"}}]);
    let error = converted_at(json!({"volumes": mount}), (1, 41)).unwrap_err();
    assert!(error.message.contains("bind.recursive: disabled") && error.help.is_some(), "{error}");
}

#[test]
fn what_an_old_engine_does_not_know_is_refused_and_not_sent() {
    let check = json!({"healthcheck": {"test": ["CMD", "true"], "start_interval": "5s"}});
    assert!(converted_at(check.clone(), (1, 41)).unwrap_err().message.contains("start_interval"));
    let new = serde_json::to_value(converted_at(check, (1, 44)).unwrap().body).unwrap();
    assert_eq!(new["Healthcheck"]["StartInterval"], 5_000_000_000_i64);
    let sub = json!({"volumes": [{"type": "volume", "source": "models", "target": "/m", "volume": {"subpath": "a"}}]});
    assert!(converted_at(sub.clone(), (1, 44)).unwrap_err().message.contains("subpath"));
    assert!(converted_at(sub, (1, 45)).is_ok());
}

#[test]
fn impossible_values_are_refused_with_the_fields_name() {
    for (service, field) in [
        (json!({"deploy": {"replicas": 2}}), "deploy.replicas"),
        (json!({"logging": {"driver": "none"}}), "logging.driver"),
        (json!({"stop_grace_period": "soon"}), "stop_grace_period"),
        (json!({"mem_limit": "16gb"}), "mem_limit"),
        (json!({"expose": ["http"]}), "expose"),
        (json!({"volumes": [{"type": "npipe", "target": "/x"}]}), "volumes"),
        (json!({"volumes": [{"type": "volume", "source": "undeclared", "target": "/x"}]}), "volumes"),
        (json!({"security_opt": ["seccomp:/no/such/profile.json"]}), "security_opt"),
    ] {
        let error = converted_at(service, (1, 41)).unwrap_err();
        assert!(error.message.contains(&format!("`{field}`")), "{error}");
        assert!(error.help.is_some());
    }
}

#[test]
fn an_empty_entrypoint_clears_the_images_own() {
    assert_eq!(body(json!({"entrypoint": []}))["Entrypoint"], json!([""]));
    assert_eq!(body(json!({}))["Entrypoint"], Value::Null);
}

#[test]
fn absent_bind_sources_are_all_named_at_once() {
    let service = json!({"volumes": [
        {"type": "bind", "source": "/no/such/models", "target": "/models"},
        {"type": "bind", "source": "/", "target": "/host"},
        {"type": "bind", "source": "/no/such/cache", "target": "/cache"}
    ]});
    let error = crate::launch::mounts::check_bind_sources(&spec(service)).unwrap_err();
    assert!(error.message.contains("/no/such/models") && error.message.contains("/no/such/cache"), "{error}");
    assert!(!error.message.contains("/host"));
}

#[test]
fn a_mounted_model_whose_folder_is_empty_is_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mount = json!({ "type": "bind", "source": folder.path(), "target": "/models" });
    let service = json!({ "image": "vllm/vllm-openai", "command": ["--model", "/models/m"], "volumes": [mount] });
    let check = || super::super::mounts::check_bind_sources(&spec(service.clone()));
    let refused = check().unwrap_err().to_string();
    assert!(
        refused.contains("the model /models/m is mounted from") && refused.contains("empty or not there"),
        "{refused}"
    );
    std::fs::create_dir(folder.path().join("m")).unwrap();
    assert!(check().is_err(), "an empty folder is no model");
    std::fs::write(folder.path().join("m/config.json"), "{}").unwrap();
    check().unwrap();
}
