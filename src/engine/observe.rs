//! Hands the telemetry what it looks at: the server's container, the engine's metrics, the GPUs; and the samples to the store.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;

use crate::bench::{self, Client};
use crate::compose::Service;
use crate::domain::{ScenarioKind, ScenarioResult, ScenarioSpec, ValidityReason, Verdict};
use crate::grid::Telemetry;
use crate::launch::{self, Launcher, Meter, Running};
use crate::store::TelemetrySample;
use crate::telemetry::gpu_set::{self, GpuSet};
use crate::telemetry::{
    self, ContainerReader, EngineReader, Fetch, GpuReader, GpuWays, HostReader, Moment, Sampler, Tag, Trial, Usage,
};

/// The telemetry of one attempt, from its server's start to its end; nothing at all when the grid says `telemetry: off`.
#[derive(Debug)]
pub(crate) struct Observation {
    sampler: Option<Sampler>,
}

impl Observation {
    /// Of nothing.
    pub(crate) const fn off() -> Self {
        Self { sampler: None }
    }

    /// Begins to look at a server that was just started. `began`: the attempt's start.
    pub(super) fn begin(
        wanted: &Telemetry,
        launcher: &Launcher,
        running: &Running,
        service: &Service,
        began: Instant,
    ) -> Self {
        if !wanted.on {
            return Self::off();
        }
        let sampler = Sampler::start(wanted.interval, began);
        let local = launcher.is_local();
        if local {
            sampler.add(Box::<HostReader>::default());
        }
        let meter = launcher.meter(running);
        if let Some(meter) = meter.clone() {
            sampler.add(Box::new(ContainerReader::new(usage(meter))));
        }
        let in_container = launcher.docker().is_some();
        let set = gpus_of(launcher, service);
        let ways = GpuWays {
            dcgm: wanted.dcgm.as_ref().map(|url| metrics_at(url.value.clone())),
            nvml: local,
            nvml_library: wanted.nvml_library.as_ref().map(|file| file.value.clone()),
            smi: meter.filter(|_| in_container && launch::wants_gpu(service)).map(smi),
        };
        sampler.add(Box::new(GpuReader::new(ways, set, Trial::of(&running.id))));
        Self { sampler: Some(sampler) }
    }

    /// Begins to look at a server that somebody else started: its engine, and the machine when it is this one.
    pub(crate) fn of_server(client: &Client, base_url: &str) -> Self {
        let wanted = Telemetry::default();
        let sampler = Sampler::start(wanted.interval, Instant::now());
        if is_loopback(base_url) {
            sampler.add(Box::<HostReader>::default());
            let ways = GpuWays { nvml: true, ..GpuWays::default() };
            sampler.add(Box::new(GpuReader::new(ways, GpuSet::All, Trial::Unknown)));
        }
        let observation = Self { sampler: Some(sampler) };
        observation.serving(client);
        observation
    }

    /// The engine answers now: its series are read as well.
    pub(crate) fn serving(&self, client: &Client) {
        if let Some(sampler) = &self.sampler {
            sampler.add(Box::new(EngineReader(metrics_of(client.clone()))));
        }
        self.tag(Tag::Idle);
    }

    /// A scenario is at this now.
    pub(crate) fn doing(&self, kind: ScenarioKind, activity: bench::Activity) {
        self.tag(match activity {
            bench::Activity::Preparing => Tag::Preparing,
            bench::Activity::WarmingUp => Tag::WarmUp,
            bench::Activity::Idle => Tag::Idle,
            bench::Activity::Measuring => Tag::Scenario(kind),
        });
    }

    /// Says what goes on.
    pub(crate) fn tag(&self, tag: Tag) {
        if let Some(sampler) = &self.sampler {
            sampler.tag(tag);
        }
    }

    /// Takes what was sampled so far, to be stored: what comes now belongs to something else.
    pub(crate) fn samples(&self) -> Vec<TelemetrySample> {
        self.sampler.as_ref().map(|sampler| samples(&sampler.take())).unwrap_or_default()
    }

    /// A scenario ended: puts what was sampled since [`Self::samples`] into its result, and takes the samples.
    pub(crate) fn judge(&self, result: &mut ScenarioResult) -> Vec<TelemetrySample> {
        let Some(sampler) = &self.sampler else {
            if let ScenarioSpec::Profile(_) = result.spec {
                let sentence = "the telemetry is off: a profile has nothing to show";
                result.validity.add(Verdict::Invalid, ValidityReason::TooFewSamples, sentence);
            }
            return Vec::new();
        };
        sampler.tag(Tag::Idle);
        let moments = sampler.take();
        telemetry::judge(result, &moments);
        samples(&moments)
    }

    /// Ends the looking; gives the rest of the samples, and what was wrong, in sentences.
    pub(crate) async fn end(self) -> (Vec<TelemetrySample>, Vec<String>) {
        match self.sampler {
            Some(sampler) => {
                let (moments, problems) = sampler.stop().await;
                (samples(&moments), problems)
            }
            None => (Vec::new(), Vec::new()),
        }
    }
}

/// The GPUs that a service's server may use.
pub(super) fn gpus_of(launcher: &Launcher, service: &Service) -> GpuSet {
    if launcher.docker().is_some() {
        return gpu_set::of_service(service);
    }
    let own = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let given = service.environment.get("CUDA_VISIBLE_DEVICES").cloned().flatten();
    gpu_set::of_process(given.or(own).as_deref())
}

fn samples(moments: &[Moment]) -> Vec<TelemetrySample> {
    let of = |moment: &Moment| -> Vec<TelemetrySample> {
        let sample = |r: &telemetry::Reading| TelemetrySample {
            series: r.series.as_str().to_owned(),
            source: r.source.to_string(),
            offset_ms: moment.at_ms,
            tag: Some(moment.tag.as_str().to_owned()),
            value: r.value,
        };
        moment.readings.iter().map(sample).collect()
    };
    moments.iter().flat_map(of).collect()
}

/// The text of the engine's `/metrics`.
fn metrics_of(client: Client) -> Fetch<String> {
    Box::new(move || {
        let client = client.clone();
        async move { client.metrics().await.map_err(|e| e.to_string()) }.boxed()
    })
}

/// The text of an exporter's `/metrics`. Its client is made with the first question.
fn metrics_at(url: String) -> Fetch<String> {
    let client: Arc<tokio::sync::OnceCell<Client>> = Arc::default();
    Box::new(move || {
        let (url, client) = (url.clone(), Arc::clone(&client));
        async move {
            let target = bench::Target::new(&url, "");
            let client = client.get_or_try_init(|| Client::new(&target)).await.map_err(|e| e.to_string())?;
            client.metrics().await.map_err(|e| e.to_string())
        }
        .boxed()
    })
}

fn usage(meter: Meter) -> Fetch<Usage> {
    Box::new(move || {
        let meter = meter.clone();
        async move {
            let usage = meter.usage().await.map_err(|e| e.to_string())?;
            Ok(Usage { cpu_ns: usage.cpu_ns, memory_bytes: usage.memory_bytes })
        }
        .boxed()
    })
}

fn smi(meter: Meter) -> Fetch<String> {
    Box::new(move || {
        let meter = meter.clone();
        async move { meter.output_inside(&telemetry::SMI_COMMAND).await.map_err(|e| e.message) }.boxed()
    })
}

/// Whether a URL names this machine by a loopback address or `localhost`.
fn is_loopback(base_url: &str) -> bool {
    let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_is_this_machine() {
        for url in ["http://127.0.0.1:8000", "http://localhost", "https://[::1]:8000/v1", "http://u:p@127.1.2.3/"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://gpu:8000", "http://10.0.0.1", "http://[2001:db8::1]:1", "http://localhost.example", ""] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn an_observation_of_nothing_gives_no_sample_and_makes_a_profile_invalid() {
        let mut result = ScenarioResult::empty(ScenarioSpec::Profile(crate::domain::ProfileSpec::default()));
        assert_eq!(Observation::off().judge(&mut result), []);
        assert_eq!(result.validity.verdict, Verdict::Invalid);
    }
}
