//! A system of the project, or one that a test wrote, with everything that is generated from it.

use super::{Elf, image};
use sel4cp_abi::config::{Config, parse};
use sel4cp_abi::label::Labels;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xtask::pack::{Configuration, pack};
use xtask::system::{Generated, GuestFiles, KernelKind, Source, System, Target, generate};

/// What was generated.
pub struct Made {
    /// Everything is in here.
    pub folder: TempDir,
    /// The system.
    pub system: System,
    /// Where the results are.
    pub generated: Generated,
}

/// Generates the system in `toml` for a kernel and `board`, if it is not to be the file's own, with a small kernel, initial RAM
/// disk and disk.
pub fn make(toml: &Path, board: Option<&str>, kernel_kind: KernelKind) -> Made {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("Image"), image(0x1_0000, 0x12_3456)).unwrap();
    std::fs::write(path("initrd"), [1; 0x2345]).unwrap();
    std::fs::write(path("root"), [0; 0x400]).unwrap();
    let system = System::load_on(toml, board).unwrap_or_else(|error| panic!("{error}"));
    let files: Vec<GuestFiles> = system
        .guests()
        .iter()
        .map(|guest| GuestFiles {
            kernel: path("Image"),
            initrd: (guest.initrd != Source::None).then(|| path("initrd")),
            root: guest.block.is_some().then(|| path("root")),
        })
        .collect();
    let target = Target {
        labels: Labels::RELEASE,
        debug_put_char: true,
        kernel_kind,
    };
    let generated =
        generate(&system, &files, &target, &path("out")).unwrap_or_else(|error| panic!("{error}"));
    Made {
        folder,
        system,
        generated,
    }
}

/// The same for the bundled kernel.
pub fn bundled(toml: &Path) -> Made {
    make(toml, None, KernelKind::Bundled)
}

/// A system file with `text`.
pub fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("test.toml");
    std::fs::write(&path, format!("board = \"qemu_virt_aarch64\"\n{text}")).unwrap();
    (folder, path)
}

/// A system file of the project.
pub fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

impl Made {
    /// A file that was generated.
    pub fn out(&self, name: &str) -> Vec<u8> {
        let path = self.folder.path().join("out").join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The `.system` file.
    pub fn sdf(&self) -> String {
        std::fs::read_to_string(&self.generated.sdf).unwrap()
    }

    /// A PD's configuration.
    pub fn config<T: Config + Copy>(&self, pd: &str) -> T {
        // Zeroes follow in the page.
        let mut bytes = self.out(&format!("{pd}.config"));
        bytes.resize(0x4000, 0);
        *parse::<T>(&bytes).unwrap_or_else(|error| panic!("{pd}: {error}"))
    }

    /// Packs the system with made-up programs; the packer's report.
    pub fn packed(&self) -> Result<String, String> {
        let programs = self.folder.path().join("programs");
        std::fs::create_dir_all(&programs).unwrap();
        super::programs(&programs);
        let kernel = Elf::kernel().write(&programs.join("kernel"));
        let mut paths = self.generated.search_paths.clone();
        paths.push(programs);
        let path = |name: &str| self.folder.path().join(name);
        pack(
            &self.generated.sdf,
            &paths,
            &kernel,
            Configuration::Release,
            &path("image"),
            &path("report"),
        )
        .map_err(|error| error.to_string())?;
        Ok(std::fs::read_to_string(path("report")).unwrap())
    }
}
