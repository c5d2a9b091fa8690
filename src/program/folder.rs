//! The private folder of a link: its sockets, and the module that the program loads. It goes with this value.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tracing::warn;

/// A folder that nobody else can look into.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// The module's files, with `/` between folders.
const MODULE: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/module.rs"));

impl Folder {
    /// Makes one, with the module in it.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("roadstead-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = Self { path: std::env::temp_dir().join(name) };
        DirBuilder::new().mode(0o700).create(&folder.path)?;
        folder.write_module()?;
        Ok(folder)
    }

    /// Writes the module, again if it is there: hosts remove files from such places that nobody has used for days.
    pub(super) fn write_module(&self) -> io::Result<()> {
        for (name, text) in MODULE {
            let path = self.path.join("module").join(name);
            if let Some(parent) = path.parent() {
                DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
            }
            fs::write(path, text)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What Node has to load in front of the program.
    pub(super) fn register(&self) -> PathBuf {
        self.path.join("module").join("register.js")
    }

    pub(super) fn control(&self) -> PathBuf {
        self.path.join("control.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            warn!("{} stays: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_file_that_the_module_loads_is_compiled_in() {
        let names: Vec<_> = MODULE.iter().map(|(name, _)| *name).collect();
        for (file, text) in MODULE.iter().filter(|(name, _)| name.ends_with(".js")) {
            for quoted in text.split("require('./").skip(1).filter_map(|rest| rest.split('\'').next()) {
                let below = Path::new(file).parent().expect("a folder").join(quoted.trim_start_matches("./"));
                let below = below.to_str().expect("a plain name");
                assert!(names.contains(&below), "{file} loads {below}");
            }
        }
        assert!(names.contains(&"register.js") && names.contains(&"lib/link.js"), "{names:?}");
    }

    #[test]
    fn the_module_has_the_servers_version() {
        let (_, text) = MODULE.iter().find(|(name, _)| *name == "package.json").expect("the package");
        let package: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_folder_is_private_and_goes() {
        let folder = Folder::new().expect("a folder");
        let path = folder.path().to_owned();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::remove_dir_all(path.join("module")).expect("it is there");
        folder.write_module().expect("there is room");
        assert!(folder.register().is_file());
        drop(folder);
        assert!(!path.exists());
    }
}
