//! `extends`: a service begins as another one, of the same file or of another.

use std::path::Path;

use super::canonical::{self, Base};
use super::load::{Depth, Loader, Scope};
use super::tree::{self, Data, Map, Tree};
use super::{merge, paths};
use crate::domain::{Diagnostic, Diagnostics};

/// Who extends whom, to find circles: the file and service of each step.
type Trail = Vec<(String, String)>;

struct Step<'s> {
    /// The file that is named in messages.
    file: String,
    trail: Trail,
    /// Paths that the files on the way reset.
    resets: Vec<Vec<tree::Path>>,
    scope: &'s Scope<'s>,
}

impl Loader<'_> {
    /// Replaces every service of `root` that extends another by the merge of the two.
    pub fn apply_extends(
        &mut self,
        root: &mut Tree,
        file: &Path,
        resets: &[tree::Path],
        scope: &Scope<'_>,
    ) -> Result<(), Diagnostics> {
        let Some(Data::Map(services)) = root.map_mut().and_then(|m| m.get_mut("services")).map(|s| &mut s.data) else {
            return Ok(());
        };
        let names: Vec<String> = services.keys().cloned().collect();
        for name in names {
            let step =
                Step { file: file.display().to_string(), trail: Vec::new(), resets: vec![resets.to_vec()], scope };
            if let Some(merged) = self.extend(&name, services, step)? {
                services.insert(name, merged);
            }
        }
        Ok(())
    }

    /// The service with all that it extends merged in; None where there is no such mapping.
    fn extend(&mut self, name: &str, services: &mut Map, mut step: Step<'_>) -> Result<Option<Tree>, Diagnostics> {
        let Some(service) = services.get(name).cloned() else { return Ok(None) };
        let Some(extends) = service.get("extends").cloned() else { return Ok(Some(service)) };
        let (reference, file) = match &extends.data {
            Data::Str(reference) => (reference.clone(), None),
            Data::Map(map) => {
                let Some(reference) = map.get("service").and_then(Tree::str) else {
                    return Err(extends
                        .error("missing-key", "`extends` has no `service`")
                        .help("name the service")
                        .into());
                };
                (reference.to_owned(), map.get("file").and_then(Tree::str).map(str::to_owned))
            }
            _ => return Ok(Some(service)),
        };
        let mut other;
        let pool = match file {
            Some(file) => {
                let (found, resets) = self.base_services(name, &reference, &file, &extends, step.scope)?;
                other = found;
                step.resets.push(resets);
                step.file = file;
                &mut other
            }
            None if !services.contains_key(&reference) => {
                return Err(unknown(&extends, name, &reference, &step.file).into());
            }
            None => services,
        };
        let mark = (step.file.clone(), name.to_owned());
        if step.trail.contains(&mark) {
            let circle: Vec<&str> = step.trail.iter().map(|(_, s)| s.as_str()).chain([name]).collect();
            return Err(extends
                .error("circular-extends", format!("services extend each other in a circle: {}", circle.join(" -> ")))
                .help("take one `extends` out of the circle")
                .into());
        }
        step.trail.push(mark);
        let resets = step.resets.clone();
        let base = self.extend(&reference, pool, step)?;
        let Some(mut base) = base.filter(|b| b.map().is_some()) else { return Ok(Some(service)) };
        for paths in &resets {
            merge::apply_resets(&mut base, paths, &mut vec!["services".into(), name.to_owned()]);
        }
        let key = service.key.clone();
        let mut merged = merge::merge(base, service, &mut vec!["services".into(), "x".into()])?;
        merged.key = key;
        if let Some(map) = merged.map_mut() {
            map.shift_remove("extends");
        }
        if pool.contains_key(name) {
            pool.insert(name.to_owned(), merged.clone());
        }
        Ok(Some(merged))
    }

    /// The services of another file, with their paths set to start where that file stands.
    fn base_services(
        &mut self,
        name: &str,
        reference: &str,
        file: &str,
        at: &Tree,
        scope: &Scope<'_>,
    ) -> Result<(Map, Vec<tree::Path>), Diagnostics> {
        refuse_remote(file, at)?;
        let path = paths::absolute(Path::new(file), &scope.resource_dir);
        let documents = self.parse(&path, Path::new(file)).map_err(|mut errors| {
            if let Some(first) = errors.0.iter_mut().find(|e| e.code == "unreadable-file") {
                *first = at.span.mark(first.clone());
            }
            errors
        })?;
        let (root, resets) = self.file(None, documents, &path, scope, Depth::Base)?;
        let Some(mut root) = root else {
            return Err(unknown(at, name, reference, file).into());
        };
        let folder = path.parent().unwrap_or(&scope.resource_dir);
        let base = Base { folder: paths::relative(folder, &scope.resource_dir), home: self.home };
        canonical::resolve_paths(&mut root, &base)?;
        match root.map_mut().and_then(|m| m.shift_remove("services")).map(|s| s.data) {
            Some(Data::Map(services)) if services.contains_key(reference) => Ok((services, resets)),
            _ => Err(unknown(at, name, reference, file).into()),
        }
    }
}

fn unknown(at: &Tree, name: &str, reference: &str, file: &str) -> Diagnostic {
    at.error("unknown-service", format!("`{name}` extends `{reference}`, which {file} does not have"))
        .help("check the name and the file")
}

/// Git and OCI addresses, which Compose can fetch.
pub(super) fn refuse_remote(file: &str, at: &Tree) -> Result<(), Diagnostics> {
    if ["https://", "http://", "git://", "ssh://", "git@", "oci://", "github.com/"].iter().any(|p| file.starts_with(p))
    {
        return Err(at
            .error("remote-file", format!("`{file}` is not on this machine"))
            .help("fetch it and name the local copy")
            .into());
    }
    Ok(())
}
