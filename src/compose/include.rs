//! `include`: whole other projects, loaded with their own folder and env file, whose services join in.

use std::path::{Path, PathBuf};

use super::load::{Loader, Scope, same};
use super::tree::{Data, Map, Tree};
use super::{extends, paths};
use crate::domain::{Diagnostic, Diagnostics};

/// The sections that an included file adds to.
const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "secrets", "configs"];

impl Loader<'_> {
    /// Loads what `root` includes into it.
    pub fn apply_include(&mut self, root: &mut Tree, scope: &Scope<'_>) -> Result<(), Diagnostics> {
        let Some(include) = root.map_mut().and_then(|m| m.shift_remove("include")) else { return Ok(()) };
        let Data::Seq(entries) = &include.data else {
            if include.is_null() {
                return Ok(());
            }
            return Err(include
                .error("wrong-type", format!("`include` must be a list, this is {}", include.kind()))
                .help("write `include:` and `- path` below it")
                .into());
        };
        for entry in entries {
            let imported = self.included(entry, scope)?;
            import(imported, root)?;
        }
        Ok(())
    }

    fn included(&mut self, entry: &Tree, scope: &Scope<'_>) -> Result<Tree, Diagnostics> {
        let files = match &entry.data {
            Data::Str(path) => vec![path.clone()],
            Data::Map(map) => strings(map.get("path")),
            _ => Vec::new(),
        };
        let Some(first) = files.first() else {
            return Err(entry.error("missing-key", "an `include` names no `path`").help("add `path:`").into());
        };
        for file in &files {
            extends::refuse_remote(file, entry)?;
        }
        let main = paths::absolute(Path::new(first), &scope.resource_dir);
        if scope.included.contains(&main) {
            return Err(entry
                .error("circular-include", format!("{} includes itself in a circle", main.display()))
                .help("take one `include` out of the circle")
                .into());
        }
        let stated = entry.get("project_directory").and_then(Tree::str).filter(|d| !d.is_empty());
        let folder = match stated {
            Some(directory) => paths::absolute(Path::new(directory), &scope.resource_dir),
            None => main.parent().unwrap_or(&scope.resource_dir).to_owned(),
        };
        let listed = strings(entry.get("env_file"));
        let env_files: Vec<(PathBuf, bool)> = if listed.is_empty() {
            vec![(folder.join(".env"), false)]
        } else {
            listed.iter().map(|f| (paths::absolute(Path::new(f), &scope.resource_dir), true)).collect()
        };
        let environment = self.with_env_files(scope.environment, &env_files)?;
        let mut documents = Vec::new();
        for file in &files {
            let path = paths::absolute(Path::new(file), &scope.resource_dir);
            let parsed = self.parse(&path, Path::new(file)).map_err(|mut errors| {
                if let Some(first) = errors.0.iter_mut().find(|e| e.code == "unreadable-file") {
                    *first = entry.span.mark(first.clone());
                }
                errors
            })?;
            documents.push((path, parsed));
        }
        let inner = Scope { environment: &environment, resource_dir: folder.clone(), included: scope.included.clone() };
        let working_dir = paths::relative(&folder, &scope.resource_dir);
        self.model(documents, &working_dir, &inner, &scope.resource_dir)
    }
}

fn strings(tree: Option<&Tree>) -> Vec<String> {
    match tree.map(|t| &t.data) {
        Some(Data::Str(text)) => vec![text.clone()],
        Some(Data::Seq(items)) => items.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

fn import(mut imported: Tree, root: &mut Tree) -> Result<(), Diagnostic> {
    let (Some(from), Some(to)) = (imported.map_mut(), root.map_mut()) else { return Ok(()) };
    for section in SECTIONS {
        let Some(found) = from.shift_remove(section) else { continue };
        let shell = found.with(Data::Map(Map::new()));
        let Data::Map(resources) = found.data else { continue };
        let slot = to.entry(section.to_owned()).or_insert(shell);
        let Some(target) = slot.map_mut() else { continue };
        for (name, resource) in resources {
            match target.get(&name) {
                Some(own) if !same(own, &resource) => {
                    return Err(own
                        .key_error("include-conflict", format!("`{section}.{name}` is also in an included file"))
                        .help("rename one of the two, or override it in a later `-f` file"));
                }
                Some(_) => {}
                None => {
                    target.insert(name, resource);
                }
            }
        }
    }
    Ok(())
}
