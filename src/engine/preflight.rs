//! Is this machine ready for the sweep? Everything that can be known before anything is touched.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::domain::{ConfigKey, SweepId, text_enum};
use crate::grid::After;
use crate::launch::{
    self, DockerLauncher, FoundBy, GpuSupport, LaunchSpec, Launcher, ProcessLauncher, Serving, ServingQuery, Sidecar,
    SidecarKind,
};

use super::plan::Planner;
use super::restore;
use super::room::LEAST_FREE_BYTES;

/// Name of the image that vgrid makes by itself out of its own binary.
pub(crate) const SIM_IMAGE: &str = "vgrid-sim:local";

text_enum! {
    /// How a check ended.
    pub enum FindingKind {
        /// As it must be.
        Ok = "ok",
        /// Not as it should be; the sweep can run.
        Warning = "warning",
        /// The sweep cannot run here.
        Failed = "failed",
    }
}

/// The result of one check.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Finding {
    /// What was checked, in a word or two.
    pub(crate) check: String,
    /// How it ended.
    pub(crate) kind: FindingKind,
    /// What was found.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

/// What the checks found, and what was learnt on the way.
pub(crate) struct Readiness {
    /// One finding per check.
    pub(crate) findings: Vec<Finding>,
    /// The launcher, when it can be reached.
    pub(crate) launcher: Option<Launcher>,
    /// Pinned ids of the images, by reference.
    pub(crate) image_ids: HashMap<String, String>,
}

impl Readiness {
    /// The checks that failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.kind == FindingKind::Failed)
    }

    fn ok(&mut self, check: &str, message: impl Into<String>) {
        self.add(check, FindingKind::Ok, message, None);
    }

    fn failed(&mut self, check: &str, error: &launch::LaunchError) {
        self.add(check, FindingKind::Failed, error.message.clone(), error.help.clone());
    }

    fn add(&mut self, check: &str, kind: FindingKind, message: impl Into<String>, help: Option<String>) {
        self.findings.push(Finding { check: check.to_owned(), kind, message: message.into(), help });
    }
}

/// Whether an image that is missing may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimImage {
    /// Make the simulated engine's image when it is named; `vgrid run` says so before.
    Build,
    /// Touch nothing.
    Leave,
}

/// Looks at everything that the sweep needs. Touches nothing, but for the simulated engine's image when told to build it.
/// `pinned` are the ids that a sweep began with, by reference: they count, whatever the references mean today.
pub(crate) async fn inspect(planner: &Planner, db: &Path, sim: SimImage, pinned: &Images) -> Readiness {
    let mut ready = Readiness { findings: Vec::new(), launcher: None, image_ids: HashMap::new() };
    disk(&mut ready, db);
    after(&mut ready, planner);
    if planner.is_process() {
        process(&mut ready, planner, db).await;
        return ready;
    }
    let docker = match DockerLauncher::connect().await {
        Ok(docker) => docker,
        Err(error) => {
            ready.failed("docker", &error);
            return ready;
        }
    };
    ready.ok("docker", docker.describe());
    if let Some(root) = docker.local_data_root().await {
        room(
            &mut ready,
            "docker disk",
            &root,
            "Docker's images, containers and logs",
            "`docker system df` shows what takes the room",
        );
    }
    images(&mut ready, planner, &docker, sim, pinned).await;
    gpu(&mut ready, planner, &docker).await;
    service(&mut ready, planner, &docker).await;
    if docker.local_data_root().await.is_some() {
        for doubt in launch::doubtful_binds(&planner.service) {
            let help = "correct the path in the compose file, or put there what belongs there".to_owned();
            ready.add("mounts", FindingKind::Warning, doubt, Some(help));
        }
    }
    let query = restore::query(planner, &launch::database_label(db));
    let stopped = also_stopped(&mut ready, planner, &docker, &query).await;
    bystanders(&mut ready, planner, &docker, &stopped).await;
    match docker.serving_now(&query).await {
        Ok(serving) if serving.is_empty() && stopped.is_empty() => {
            ready.ok("restore", "nothing serves there now; nothing to put back")
        }
        Ok(serving) => match restore::owed(db) {
            Ok(owed) => {
                for s in serving.into_iter().chain(stopped) {
                    restorable(&mut ready, planner, &docker, &s, &owed).await;
                }
            }
            Err(error) => ready.add("restore", FindingKind::Failed, error.to_string(), None),
        },
        Err(error) => ready.failed("restore", &error),
    }
    ready.launcher = Some(Launcher::Docker(docker));
    ready
}

/// What is taken aside must be such that it can come back.
async fn restorable(
    ready: &mut Readiness,
    planner: &Planner,
    docker: &DockerLauncher,
    serving: &Serving,
    owed: &[String],
) {
    match docker.obstacles_to_restoring(serving, &launch::secrets_of(&planner.service), owed).await {
        Ok(obstacles) if obstacles.is_empty() && serving.found_by == FoundBy::Named => {
            ready.ok("restore", format!("{} is stopped meanwhile, and runs again at the end", serving.describe()));
        }
        Ok(obstacles) if obstacles.is_empty() && serving.running && serving.models.is_empty() => {
            let message = format!("{} is taken aside and put back at the end", serving.describe());
            let help = "what answers no model now cannot be verified by one then: look at its log first".to_owned();
            ready.add("restore", FindingKind::Warning, message, Some(help));
        }
        Ok(obstacles) if obstacles.is_empty() => {
            ready.ok("restore", format!("{} is taken aside and put back at the end", serving.describe()));
        }
        Ok(obstacles) => obstacles.iter().for_each(|obstacle| ready.failed("restore", obstacle)),
        Err(error) => ready.failed("restore", &error),
    }
}

/// What shall serve when the sweep is over.
fn after(ready: &mut Readiness, planner: &Planner) {
    if planner.grid.deployment.after != After::Champion {
        return;
    }
    let restore = || Some("write `after: restore` in the grid's `deployment`".to_owned());
    match planner.grid.objectives.first() {
        _ if planner.is_process() => {
            let message = "`after: champion` needs compose files; this deployment is a local process";
            ready.add("after", FindingKind::Failed, message, restore());
        }
        None => {
            let help = Some("state `objectives`, or write `after: restore`".to_owned());
            ready.add("after", FindingKind::Failed, "`after: champion` needs an objective to name one by", help);
        }
        Some(_) if planner.grid.repeats.starts < 2 && planner.grid.repeats.finalists == 0 => {
            let message = "`after: champion` needs a champion that is confirmed on a second start, and the grid makes one start of each";
            let help = Some(
                "take `repeats: off` out of the grid, or let it have finalists: they are measured again".to_owned(),
            );
            ready.add("after", FindingKind::Failed, message, help);
        }
        Some(first) => {
            let name = &first.name;
            ready.ok(
                "after",
                format!("the champion of `{name}` is put into production, if one is named; see docs/promote.md"),
            );
        }
    }
}

fn disk(ready: &mut Readiness, db: &Path) {
    let folder = db.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let help = "create it, or name another file with --db".to_owned();
        ready.add("disk", FindingKind::Failed, format!("the folder {} does not exist", folder.display()), Some(help));
        return;
    }
    room(ready, "disk", folder, "the database and logs", "or put the database elsewhere with --db");
}

/// Whether a folder's file system has room for a night.
fn room(ready: &mut Readiness, check: &str, folder: &Path, what_for: &str, help: &str) {
    match launch::free_bytes(folder) {
        Some(free) if free < LEAST_FREE_BYTES => {
            let message = format!("only {} MiB are free in {} for {what_for}", free >> 20, folder.display());
            ready.add(check, FindingKind::Failed, message, Some(format!("free at least 1 GiB; {help}")));
        }
        Some(free) => ready.ok(check, format!("{} GiB free for {what_for}", free >> 30)),
        None => ready.ok(check, format!("free space in {} is not known here", folder.display())),
    }
}

/// Ids of images by reference.
pub(crate) type Images = BTreeMap<String, String>;

async fn images(ready: &mut Readiness, planner: &Planner, docker: &DockerLauncher, sim: SimImage, pinned: &Images) {
    for reference in planner.images() {
        if let Some(id) = pinned.get(&reference) {
            match docker.image_info(id).await {
                Ok(image) => {
                    ready.ok("image", format!("{reference} is {}, as the sweep began", short(&image.id)));
                    ready.image_ids.insert(reference, image.id);
                }
                Err(error) if error.is_not_found() => {
                    let message = format!("the sweep began with {reference} = {id}, and that image is gone");
                    let help =
                        format!("load it again, or measure the {reference} of today with `vgrid run --new GRID`");
                    ready.add("image", FindingKind::Failed, message, Some(help));
                }
                Err(error) => ready.failed("image", &error),
            }
            continue;
        }
        let found = docker.image_info(&reference).await;
        let found = match (&found, reference == SIM_IMAGE, sim) {
            (_, true, SimImage::Build) => match std::env::current_exe() {
                Ok(exe) => launch::build_sim_image(docker, &exe, SIM_IMAGE).await,
                Err(_) => found,
            },
            (Err(_), true, SimImage::Leave) => {
                ready.ok("image", format!("{reference} is made by `vgrid run` out of its own binary"));
                continue;
            }
            _ => found,
        };
        match found {
            Ok(image) => {
                ready.ok("image", format!("{reference} is {}", short(&image.id)));
                ready.image_ids.insert(reference, image.id);
            }
            Err(error) => ready.failed("image", &error),
        }
    }
}

/// `sha256:` and the first twelve digits.
fn short(id: &str) -> &str {
    id.get(..19).unwrap_or(id)
}

async fn gpu(ready: &mut Readiness, planner: &Planner, docker: &DockerLauncher) {
    if !launch::wants_gpu(&planner.service) {
        return;
    }
    match docker.gpu_support(&planner.service).await {
        Ok(GpuSupport::Available(how)) => ready.ok("gpu", how),
        Ok(GpuSupport::Absent { why, help }) => ready.add("gpu", FindingKind::Failed, why, Some(help)),
        Err(error) => ready.failed("gpu", &error),
    }
}

/// Mounts, networks, dependencies and every key that the launcher must carry out, for the deployment's own service.
async fn service(ready: &mut Readiness, planner: &Planner, docker: &DockerLauncher) {
    let reference = planner.service.image.clone().unwrap_or_default();
    let Some(image) = ready.image_ids.get(&reference).cloned() else { return };
    match docker.check(&spec_for_check(planner, image)).await {
        Ok(()) => ready.ok("service", format!("{} can be created as the compose files say", planner.service_name)),
        Err(error) => ready.failed("service", &error),
    }
}

/// What the grid wants stopped meanwhile, as far as it runs.
async fn also_stopped(
    ready: &mut Readiness,
    planner: &Planner,
    docker: &DockerLauncher,
    query: &ServingQuery,
) -> Vec<Serving> {
    let names = planner.grid.deployment.also_stop();
    let found = match docker.running_by_name(&names, query).await {
        Ok(found) => found,
        Err(error) => {
            ready.failed("sidecar", &error);
            return Vec::new();
        }
    };
    let is_called = |serving: &Serving, name: &str| {
        serving.name == name || serving.recreate.label("com.docker.compose.service") == Some(name)
    };
    for name in names.iter().filter(|name| !found.iter().any(|serving| is_called(serving, name.as_str()))) {
        let message = format!("`also_stop` names `{name}`, and nothing of that name runs");
        let help = "nothing is stopped for it; `docker ps` shows the names".to_owned();
        ready.add("sidecar", FindingKind::Warning, message, Some(help));
    }
    found
}

/// Containers beside the service that may restart a trial, but for those that are stopped meanwhile.
async fn bystanders(ready: &mut Readiness, planner: &Planner, docker: &DockerLauncher, stopped: &[Serving]) {
    let Ok(sidecars) = docker.sidecars(&planner.project.name, &planner.service_name).await else { return };
    let stays = |sidecar: &&Sidecar| stopped.iter().all(|serving| serving.container_id != sidecar.id);
    for sidecar in sidecars.iter().filter(|s| s.kind == SidecarKind::HoldsDockerSocket).filter(stays) {
        let name = &sidecar.name;
        let help = format!(
            "if it restarts what it finds unhealthy, let the sweep stop it meanwhile: `also_stop: [{name}]` in `deployment`"
        );
        ready.add("sidecar", FindingKind::Warning, sidecar.describe(), Some(help));
    }
}

/// The simulated engine or a local `vllm serve`: its program, its fields, its port.
async fn process(ready: &mut Readiness, planner: &Planner, db: &Path) {
    let launcher = Launcher::Process(ProcessLauncher::new(state_folder(db)));
    match launcher.check(&spec_for_check(planner, String::new())).await {
        Ok(()) => ready.ok("program", crate::compose::argv(&planner.service).first().cloned().unwrap_or_default()),
        Err(error) => ready.failed("program", &error),
    }
    match launcher.serving_now(&restore::query(planner, &launch::database_label(db))).await {
        Ok(_) => ready.ok("port", "the port is free"),
        Err(error) => ready.failed("port", &error),
    }
    ready.launcher = Some(launcher);
}

/// The folder beside the database for logs and for what finds processes after a crash.
pub(crate) fn state_folder(db: &Path) -> std::path::PathBuf {
    let mut folder = db.as_os_str().to_owned();
    folder.push(".d");
    folder.into()
}

fn spec_for_check(planner: &Planner, image: String) -> LaunchSpec {
    let key = ConfigKey(String::new());
    LaunchSpec {
        project: launch::ProjectPart::from(&planner.project),
        service_name: planner.service_name.clone(),
        service: planner.service.clone(),
        labels: launch::TrialLabels { db: String::new(), sweep: SweepId(0), trial_id: 0, attempt: 0, key },
        image,
        container_name: "vgrid-check".to_owned(),
        log_path: std::path::PathBuf::new(),
        redactor: planner.redactor.clone(),
        server_port: None,
    }
}
