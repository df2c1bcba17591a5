//! A small disk: a file system in memory, which a file fills.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::ChaosError;

/// Name of the file that fills the disk.
const FILLER: &str = "filler";

/// A small file system in memory, which is unmounted when the value is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts it over a folder, whose files are copied into it. Returns `None` if this user may not mount.
    ///
    /// Errors: [`ChaosError::Machine`] if the files cannot be copied.
    pub fn mount_over(folder: &Path, bytes: u64) -> Result<Option<Self>, ChaosError> {
        let failed = |error| ChaosError::machine(folder.display(), error);
        let files = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let files: Vec<(PathBuf, Vec<u8>)> = files
            .iter()
            .map(|entry| Ok((entry.path(), fs::read(entry.path())?)))
            .collect::<std::io::Result<_>>()
            .map_err(failed)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "none"]).arg(folder);
        let status = mount.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let disk = Self(folder.to_owned());
        files.iter().try_for_each(|(path, bytes)| fs::write(path, bytes)).map_err(failed)?;
        Ok(Some(disk))
    }

    /// Writes a file until the disk is full.
    ///
    /// Errors: [`ChaosError::Machine`] if the file cannot be created.
    pub fn fill(&self) -> Result<(), ChaosError> {
        let path = self.0.join(FILLER);
        let mut file = fs::File::create(&path).map_err(|error| ChaosError::machine(path.display(), error))?;
        while file.write_all(&[0; 64 * 1024]).is_ok() {}
        while file.write_all(&[0; 512]).is_ok() {}
        Ok(())
    }

    /// Removes the file that fills the disk.
    ///
    /// Errors: [`ChaosError::Machine`] if it cannot be removed.
    pub fn free(&self) -> Result<(), ChaosError> {
        let path = self.0.join(FILLER);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ChaosError::machine(path.display(), error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}
