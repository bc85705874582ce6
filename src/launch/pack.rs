//! Packs a running program with the libraries that it maps into an image, through the API, with no registry and no build.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bollard::query_parameters::CreateImageOptions;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::Digest;
use tokio::sync::mpsc;

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};
use super::image::ImageInfo;

/// Label with the SHA-256 of the packed program: the image is made anew only when it differs.
pub const LABEL_EXE: &str = "io.vgrid.exe-sha256";

/// Where the program stands in the image.
const PROGRAM: &str = "/usr/bin/vgrid";

/// Where its libraries stand in the image; found through `LD_LIBRARY_PATH`, because each distribution's loader looks elsewhere.
const LIBRARIES: &str = "/usr/lib/vgrid";

/// Bytes sent to Docker at once.
const PIECE: usize = 256 * 1024;

/// Imports an image whose entrypoint is `vgrid sim`, made of the program `exe` (the running binary) and its libraries. The image
/// that is there already is kept when it holds the same program.
///
/// # Errors
/// The program or a library cannot be read; Docker refuses the import.
pub async fn build_sim_image(launcher: &DockerLauncher, exe: &Path, tag: &str) -> Result<ImageInfo, LaunchError> {
    pack_program(launcher, exe, tag, &["sim"]).await
}

/// Imports an image that runs `exe` with `arguments`.
pub(super) async fn pack_program(
    launcher: &DockerLauncher,
    exe: &Path,
    tag: &str,
    arguments: &[&str],
) -> Result<ImageInfo, LaunchError> {
    let path = exe.to_path_buf();
    let digest = in_background(move || sha256_of(&path)).await?;
    let before = match launcher.image_info(tag).await {
        Ok(image) if image.labels.get(LABEL_EXE) == Some(&digest) && image.entrypoint.iter().skip(1).eq(arguments) => {
            return Ok(image);
        }
        Ok(image) => Some(image).filter(|image| image.labels.contains_key(LABEL_EXE)),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let entrypoint: Vec<&str> = std::iter::once(PROGRAM).chain(arguments.iter().copied()).collect();
    let (repo, version) = tag.split_once(':').unwrap_or((tag, "latest"));
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repo.to_owned()),
        tag: Some(version.to_owned()),
        changes: vec![
            format!("ENTRYPOINT {}", serde_json::json!(entrypoint)),
            format!("ENV LD_LIBRARY_PATH={LIBRARIES}"),
            "ENV PATH=/usr/bin".to_owned(),
            "WORKDIR /tmp".to_owned(),
            format!("LABEL {LABEL_EXE}={digest}"),
        ],
        ..CreateImageOptions::default()
    };
    let (sender, receiver) = mpsc::channel(4);
    let body =
        futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let path = exe.to_path_buf();
    let writing = tokio::task::spawn_blocking(move || {
        let written = write_tar(&path, PieceWriter { sender: sender.clone(), buffer: Vec::new() });
        // A body that merely ended would be a shorter image; an error makes Docker refuse it.
        written.inspect_err(|error| drop(sender.blocking_send(Err(std::io::Error::other(error.to_string())))))
    });
    let mut steps =
        Box::pin(launcher.connection.streams.create_image(Some(options), Some(bollard::body_try_stream(body)), None));
    let mut refused = None;
    while let Some(step) = steps.next().await {
        refused = refused.or(step.err().map(|error| LaunchError::api(LaunchStep::Image, &error)));
    }
    drop(steps);
    let written = writing.await.map_err(|error| io_error(exe, &error))?;
    match refused {
        Some(error) if error.status.is_some() => {
            return Err(error.help("check the free space of Docker's data folder"));
        }
        Some(error) => return Err(written.err().map_or(error, |error| io_error(exe, &error))),
        None => written.map_err(|error| io_error(exe, &error))?,
    }
    let image = launcher.image_info(tag).await?;
    if let Some(old) = before.filter(|old| old.id != image.id) {
        // Its predecessor, which we made too, would stay without a name; one that is still in use stays.
        launcher
            .connection
            .docker
            .remove_image(&old.id, None::<bollard::query_parameters::RemoveImageOptions>, None)
            .await
            .ok();
    }
    Ok(image)
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LaunchError> + Send + 'static,
) -> Result<T, LaunchError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LaunchError::new(LaunchStep::Image, error.to_string()))?
}

fn io_error(path: &Path, error: &dyn std::fmt::Display) -> LaunchError {
    LaunchError::new(LaunchStep::Image, format!("cannot pack {}: {error}", path.display()))
        .help("check that the program and its libraries are readable")
}

fn sha256_of(path: &Path) -> Result<String, LaunchError> {
    let mut file = File::open(path).map_err(|error| io_error(path, &error))?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = file.read(&mut buffer).map_err(|error| io_error(path, &error))?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Writes the file system of the image: program, loader, libraries, a user database and `/tmp`.
fn write_tar(exe: &Path, output: PieceWriter) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(output);
    for (folder, mode) in [
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/lib", 0o755),
        (&LIBRARIES[1..], 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("root", 0o700),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    append_bytes(&mut tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    append_bytes(&mut tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
    append_program(&mut tar, &PROGRAM[1..], exe)?;
    if let Some(loader) = interpreter(exe)? {
        append_program(&mut tar, loader.to_string_lossy().trim_start_matches('/'), &loader)?;
        for (name, path) in mapped_libraries()? {
            append_program(&mut tar, &format!("{}/{name}", &LIBRARIES[1..]), &path)?;
        }
    }
    tar.into_inner()?.flush()
}

fn append_bytes(tar: &mut tar::Builder<PieceWriter>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
}

fn append_program(tar: &mut tar::Builder<PieceWriter>, name: &str, path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(size);
    tar.append_data(&mut header, name, file.take(size))
}

/// The loader that an ELF program names (`PT_INTERP`); `None` for a static one. Layout of the headers: System V ABI, ELF-64.
fn interpreter(exe: &Path) -> std::io::Result<Option<PathBuf>> {
    use std::os::unix::fs::FileExt;
    const PT_INTERP: u64 = 3;
    let bad = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not a little-endian 64-bit ELF program");
    let file = File::open(exe)?;
    let mut head = [0_u8; 64];
    file.read_exact_at(&mut head, 0)?;
    if head[..6] != *b"\x7fELF\x02\x01" {
        return Err(bad());
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let (table, entry_size, entries) = (number(&head[32..40]), number(&head[54..56]), number(&head[56..58]));
    for i in 0..entries {
        let mut entry = [0_u8; 56];
        file.read_exact_at(&mut entry, table + i * entry_size)?;
        if number(&entry[..4]) == PT_INTERP {
            let length = usize::try_from(number(&entry[32..40])).map_err(|_| bad())?;
            let mut path = vec![0; length.min(4096)];
            file.read_exact_at(&mut path, number(&entry[8..16]))?;
            return Ok(Some(PathBuf::from(String::from_utf8_lossy(&path).trim_end_matches('\0').to_owned())));
        }
    }
    Ok(None)
}

/// The shared libraries that this process maps, by every name under which the loader may ask for them.
fn mapped_libraries() -> std::io::Result<BTreeMap<String, PathBuf>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mapped: BTreeSet<PathBuf> = maps
        .lines()
        .filter_map(|line| line.splitn(6, ' ').nth(5).map(|path| PathBuf::from(path.trim())))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")) && path.is_absolute()
        })
        .collect();
    let mut names = BTreeMap::new();
    for path in mapped {
        let real = std::fs::canonicalize(&path)?;
        let Some((folder, file)) = path.parent().zip(path.file_name()) else { continue };
        names.insert(file.to_string_lossy().into_owned(), real.clone());
        // On older systems `libc.so.6` is a link to `libc-2.31.so`, and only the latter is in the maps.
        for link in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_symlink()))
        {
            let name = link.file_name().to_string_lossy().into_owned();
            if name.contains(".so.") && std::fs::canonicalize(link.path()).is_ok_and(|target| target == real) {
                names.insert(name, real.clone());
            }
        }
    }
    Ok(names)
}

/// Hands the tar to the request piece by piece, so that it never stands in memory as a whole.
struct PieceWriter {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(piece)).map_err(|_| std::io::Error::other("Docker closed the connection"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_libc_of_this_very_program_are_found() {
        let exe = std::env::current_exe().unwrap();
        let Some(loader) = interpreter(&exe).unwrap() else { return };
        assert!(loader.is_absolute() && loader.exists(), "{}", loader.display());
        let libraries = mapped_libraries().unwrap();
        assert!(libraries.keys().any(|name| name.starts_with("libc.so")), "{libraries:?}");
        assert!(libraries.values().all(|path| path.exists()));
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, [b'x'; 100]).unwrap();
        assert!(interpreter(&path).is_err());
    }

    #[test]
    fn a_files_digest_is_its_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256_of(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
