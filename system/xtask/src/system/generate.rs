//! Writes everything that is generated from a system.

use super::error::{Error, Result};
use super::model::System;
use super::picture::picture;
use super::wire::{Inputs, wire};
use super::{Generated, GuestFiles, Target, device_tree, files, qemu, sdf};
use std::path::{Path, PathBuf};

/// Generates everything about `system` into the folder `out`, which is made if it does not exist.
///
/// # Errors
/// Says which file of a guest does not fit, or what could not be written.
pub fn generate(
    system: &System,
    guest_files: &[GuestFiles],
    target: &Target,
    out: &Path,
) -> Result<Generated> {
    if guest_files.len() != system.guests.len() {
        return Err(Error::message(format!(
            "found files of {} guests, expected those of {}",
            guest_files.len(),
            system.guests.len()
        )));
    }
    std::fs::create_dir_all(out).map_err(|error| Error::io("make the folder", out, &error))?;
    // The `.system` file names files by paths that hold wherever it is read.
    let out = &absolute(out)?;
    let guest_files: Vec<GuestFiles> = guest_files
        .iter()
        .map(absolute_files)
        .collect::<Result<_>>()?;
    let inputs = inputs(system, &guest_files, out)?;
    let wired = wire(system, &inputs, target, out).map_err(Error::message)?;
    for (pd, bytes) in &wired.configs {
        if let Some(pd) = wired.plan.pd(*pd) {
            write(&out.join(format!("{}.config", pd.name)), bytes)?;
        }
    }
    let origin = system
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let sdf_path = out.join(format!("{}.system", system.name));
    write(&sdf_path, sdf::sdf(&wired.plan, &origin).as_bytes())?;
    let picture = picture(system, &wired.plan, &inputs, target.kernel_kind);
    write(
        &out.join(format!("{}.txt", system.name)),
        picture.as_bytes(),
    )?;
    let devices: Vec<_> = (inputs.iter().zip(&wired.buses))
        .map(|(input, buses)| (input.guest, input.files.root.as_deref(), buses))
        .collect();
    Ok(Generated {
        sdf: sdf_path,
        qemu: qemu::arguments(&devices),
        search_paths: vec![out.clone()],
        picture,
    })
}

/// Checks every guest's files and writes its device tree.
fn inputs<'a>(
    system: &'a System,
    guest_files: &'a [GuestFiles],
    out: &Path,
) -> Result<Vec<Inputs<'a>>> {
    let board = &system.board;
    let mut mistakes = Vec::new();
    let mut inputs = Vec::new();
    for (guest, files) in system.guests.iter().zip(guest_files) {
        let checked = match files::check(&system.path, guest, files, board) {
            Ok(checked) => checked,
            Err(found) => {
                mistakes.extend(found);
                continue;
            }
        };
        let ram = files::ram(guest, board);
        let blob =
            device_tree::blob(board, guest, ram, &checked.placement).map_err(Error::message)?;
        let path = out.join(format!("{}.dtb", guest.name));
        write(&path, &blob)?;
        inputs.push(Inputs {
            guest,
            files,
            checked,
            device_tree: (path, u64::try_from(blob.len()).unwrap_or(u64::MAX)),
        });
    }
    if mistakes.is_empty() {
        Ok(inputs)
    } else {
        Err(Error::Mistakes(mistakes))
    }
}

fn absolute_files(files: &GuestFiles) -> Result<GuestFiles> {
    let optional = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
    Ok(GuestFiles {
        kernel: absolute(&files.kernel)?,
        initrd: optional(&files.initrd)?,
        root: optional(&files.root)?,
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io("find", path, &error))
}

/// Writes `bytes` to `path`, unless they are there already: what is newer is made again.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(|error| Error::io("write", path, &error))
}
