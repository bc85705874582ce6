//! Which GPUs a server uses: pure, from its service and its environment.

use super::gpu::Gpu;
use crate::compose::{DeviceRequest, Service};

/// GPUs as a service names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuSet {
    /// All of the host.
    All,
    /// None.
    None,
    /// The first so many.
    First(usize),
    /// These: indexes in the order of the PCI bus, or the start of a universal identity (`GPU-...`).
    Named(Vec<String>),
    /// Of another set, those that `CUDA_VISIBLE_DEVICES` names: positions in the set, or identities.
    Of(Box<GpuSet>, Vec<String>),
}

/// The GPUs that a service's container is given: by its device requests, its devices, or `NVIDIA_VISIBLE_DEVICES` with the NVIDIA
/// runtime, narrowed by `CUDA_VISIBLE_DEVICES`. Positions are taken in the order of the PCI bus, as `CUDA_DEVICE_ORDER=PCI_BUS_ID`
/// has it; they differ from CUDA's own order only on hosts with GPUs of several kinds.
#[must_use]
pub fn of_service(service: &Service) -> GpuSet {
    let reserved = service.deploy.iter().filter_map(|d| d.resources.reservations.as_ref()).flat_map(|r| &r.devices);
    let requests: Vec<&DeviceRequest> = service.gpus.iter().chain(reserved).filter(|r| asks_for_gpus(r)).collect();
    let nodes: Vec<String> = service.devices.iter().filter_map(|d| node_index(&d.source)).collect();
    let variable = |name: &str| service.environment.get(name).and_then(|value| value.as_deref());
    let given = if let Some(set) = union(requests.iter().map(|r| of_request(r))) {
        set
    } else if let Some(text) = variable("NVIDIA_VISIBLE_DEVICES") {
        of_visible(text)
    } else if service.runtime.as_deref() == Some("nvidia") {
        GpuSet::All // what the images of CUDA say themselves
    } else if nodes.is_empty() {
        GpuSet::None
    } else {
        GpuSet::Named(nodes)
    };
    narrowed(given, variable("CUDA_VISIBLE_DEVICES"))
}

/// The GPUs that a local process sees: all, narrowed by `CUDA_VISIBLE_DEVICES`.
#[must_use]
pub fn of_process(cuda_visible_devices: Option<&str>) -> GpuSet {
    narrowed(GpuSet::All, cuda_visible_devices)
}

fn asks_for_gpus(request: &DeviceRequest) -> bool {
    let driver = request.driver.as_deref().unwrap_or_default();
    driver == "nvidia" || driver == "cdi" || request.capabilities.iter().any(|c| c == "gpu" || c == "nvidia")
        // `gpus: all` alone
        || (driver.is_empty() && request.capabilities.is_empty())
}

/// Docker gives the first `count` GPUs; without count and ids it gives all.
fn of_request(request: &DeviceRequest) -> GpuSet {
    let ids: Vec<String> =
        request.device_ids.iter().map(|id| id.trim_start_matches("nvidia.com/gpu=").into()).collect();
    match request.count {
        _ if ids.iter().any(|id| id == "all") => GpuSet::All,
        _ if !ids.is_empty() => GpuSet::Named(ids),
        Some(count) if count >= 0 => GpuSet::First(count as usize),
        Some(_) | None => GpuSet::All,
    }
}

/// Several requests together; none when there is no request.
fn union(sets: impl Iterator<Item = GpuSet>) -> Option<GpuSet> {
    sets.reduce(|a, b| match (a, b) {
        (GpuSet::First(a), GpuSet::First(b)) => GpuSet::First(a.max(b)),
        (GpuSet::Named(mut a), GpuSet::Named(b)) => {
            a.extend(b);
            GpuSet::Named(a)
        }
        (GpuSet::None, set) | (set, GpuSet::None) => set,
        (GpuSet::First(n), GpuSet::Named(mut names)) | (GpuSet::Named(mut names), GpuSet::First(n)) => {
            names.extend((0..n).map(|index| index.to_string()));
            GpuSet::Named(names)
        }
        (GpuSet::All | GpuSet::Of(..), _) | (_, GpuSet::All | GpuSet::Of(..)) => GpuSet::All,
    })
}

/// `NVIDIA_VISIBLE_DEVICES`: `all`, `none`, `void` or empty, or a list.
fn of_visible(text: &str) -> GpuSet {
    match text.trim() {
        "all" => GpuSet::All,
        "" | "none" | "void" => GpuSet::None,
        list => GpuSet::Named(list.split(',').map(|name| name.trim().to_owned()).collect()),
    }
}

/// `CUDA_VISIBLE_DEVICES`: a list; what follows a `-1` is not visible; empty hides all.
fn narrowed(given: GpuSet, cuda: Option<&str>) -> GpuSet {
    let Some(text) = cuda else { return given };
    let names = text.split(',').map(str::trim).take_while(|name| !name.is_empty() && !name.starts_with('-'));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() { GpuSet::None } else { GpuSet::Of(Box::new(given), names) }
}

/// `/dev/nvidia3` is GPU 3 by its minor number, which is its index where no GPU was taken away.
fn node_index(path: &str) -> Option<String> {
    let index = path.strip_prefix("/dev/nvidia")?;
    index.parse::<u32>().ok().map(|index| index.to_string())
}

impl GpuSet {
    /// Positions in `gpus` (all of the host, by index) of those in the set, in the set's order. What is not there is left out.
    #[must_use]
    pub fn positions(&self, gpus: &[Gpu]) -> Vec<usize> {
        let named = |name: &String, among: &[usize]| -> Option<usize> {
            match name.parse::<usize>() {
                Ok(position) => among.get(position).copied(),
                Err(_) => among.iter().copied().find(|at| is_start(name, &gpus[*at].uuid)),
            }
        };
        let all: Vec<usize> = (0..gpus.len()).collect();
        let mut found = match self {
            Self::All => all,
            Self::None => Vec::new(),
            Self::First(count) => all.into_iter().take(*count).collect(),
            Self::Named(names) => names.iter().filter_map(|name| named(name, &all)).collect(),
            Self::Of(set, names) => {
                let among = set.positions(gpus);
                names.iter().map_while(|name| named(name, &among)).collect()
            }
        };
        let mut seen = std::collections::HashSet::new();
        found.retain(|at| seen.insert(*at));
        found
    }
}

/// An identity may be shortened to any start that is its own.
fn is_start(name: &str, uuid: &str) -> bool {
    !name.is_empty() && uuid.starts_with(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gpus() -> Vec<Gpu> {
        ["GPU-aa11", "GPU-bb22", "GPU-cc33", "GPU-dd44"]
            .iter()
            .zip(0..)
            .map(|(uuid, index)| Gpu { index, uuid: (*uuid).to_owned(), ..Gpu::default() })
            .collect()
    }

    fn of(service: serde_json::Value) -> Vec<usize> {
        let service: Service = serde_json::from_value(service).unwrap();
        of_service(&service).positions(&gpus())
    }

    fn reserved(device: serde_json::Value) -> serde_json::Value {
        serde_json::json!({ "deploy": { "resources": { "reservations": { "devices": [device] } }, "placement": {} } })
    }

    #[test]
    fn device_requests_name_gpus_by_id_by_count_or_all() {
        let ask = |count: Option<i64>, ids: &[&str]| {
            let mut device = serde_json::json!({ "driver": "nvidia", "capabilities": ["gpu"], "device_ids": ids });
            device["count"] = serde_json::json!(count);
            of(reserved(device))
        };
        assert_eq!(ask(None, &["1", "GPU-dd"]), [1, 3]);
        assert_eq!(ask(Some(2), &[]), [0, 1]);
        assert_eq!(ask(Some(-1), &[]), [0, 1, 2, 3]);
        assert_eq!(ask(None, &[]), [0, 1, 2, 3]);
        assert_eq!(ask(None, &["7", "2"]), [2], "a GPU that is not there is left out");
        assert_eq!(of(reserved(serde_json::json!({ "driver": "cdi", "device_ids": ["nvidia.com/gpu=2"] }))), [2]);
        assert_eq!(of(reserved(serde_json::json!({ "driver": "tpu", "capabilities": ["tpu"], "count": 1 }))), [0; 0]);
        assert_eq!(of(serde_json::json!({ "gpus": [{ "count": -1 }] })), [0, 1, 2, 3]);
    }

    #[test]
    fn the_nvidia_runtime_is_told_by_a_variable() {
        let visible = |value: &str| {
            of(serde_json::json!({ "runtime": "nvidia", "environment": { "NVIDIA_VISIBLE_DEVICES": value } }))
        };
        assert_eq!(visible("all"), [0, 1, 2, 3]);
        assert_eq!(visible("2, 0"), [2, 0]);
        assert_eq!(visible("GPU-bb22"), [1]);
        assert_eq!(visible("none"), [0; 0]);
        assert_eq!(visible(""), [0; 0]);
        assert_eq!(of(serde_json::json!({ "runtime": "nvidia" })), [0, 1, 2, 3]);
        assert_eq!(of(serde_json::json!({})), [0; 0]);
        let node = serde_json::json!({ "source": "/dev/nvidia1", "target": "/dev/nvidia0" });
        let control = serde_json::json!({ "source": "/dev/nvidiactl", "target": "/dev/nvidiactl" });
        assert_eq!(of(serde_json::json!({ "devices": [node, control] })), [1]);
    }

    #[test]
    fn cuda_counts_among_what_the_container_sees_and_stops_at_what_is_not_there() {
        let cuda = |given: &str, value: &str| {
            let variables = serde_json::json!({ "NVIDIA_VISIBLE_DEVICES": given, "CUDA_VISIBLE_DEVICES": value });
            of(serde_json::json!({ "runtime": "nvidia", "environment": variables }))
        };
        assert_eq!(cuda("2,3", "1"), [3]);
        assert_eq!(cuda("all", "3,1"), [3, 1]);
        assert_eq!(cuda("all", "GPU-cc"), [2]);
        assert_eq!(cuda("all", "1,-1,2"), [1]);
        assert_eq!(cuda("all", "1,9,2"), [1]);
        assert_eq!(cuda("all", ""), [0; 0]);
        assert_eq!(of_process(Some("2")).positions(&gpus()), [2]);
        assert_eq!(of_process(None).positions(&gpus()).len(), 4);
    }

    proptest! {
        #[test]
        fn a_set_never_names_a_gpu_twice_nor_one_that_is_not_there(given in "(all|none|[0-9,GPU-]{0,12})", cuda in "[0-9,a-zGPU -]{0,12}") {
            let positions = narrowed(of_visible(&given), Some(&cuda)).positions(&gpus());
            let unique: std::collections::HashSet<_> = positions.iter().collect();
            prop_assert!(unique.len() == positions.len() && positions.iter().all(|at| *at < 4));
        }
    }
}
