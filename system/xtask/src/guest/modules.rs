//! Which kernel modules the initial RAM disk needs: `modules.dep` read and followed.

use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// A kernel's modules and what each depends on, from depmod's `modules.dep` and the package's `modules.builtin`.
#[derive(Clone, Debug, Default)]
pub(super) struct Modules {
    /// Name → (path, paths of everything that it needs).
    loadable: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads both files; paths in them are relative to the folder that they lie in.
    pub(super) fn parse(dependencies: &str, builtin: &str) -> Self {
        let loadable = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                (name(path), (path.to_owned(), needs))
            })
            .collect();
        Self {
            loadable,
            builtin: builtin.lines().map(name).collect(),
        }
    }

    /// The paths of the modules `names` and all that they need, each once, and before those that need it.
    /// What is built into the kernel needs no file and is left out.
    ///
    /// # Errors
    /// Names a module that the kernel lacks.
    pub(super) fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        for wanted in names {
            match self.loadable.get(&name(wanted)) {
                Some((path, _)) => self.add(path, &mut order),
                None if self.builtin.contains(&name(wanted)) => {}
                None => bail!(
                    "the kernel package has no module {wanted}, neither loadable nor built in; expected one of Debian's arm64 kernels"
                ),
            }
        }
        Ok(order)
    }

    /// What a module at `path` depends on, as `modules.dep` lists it.
    pub(super) fn needs(&self, path: &str) -> &[String] {
        self.loadable
            .get(&name(path))
            .map_or(&[], |(_, needs)| needs.as_slice())
    }

    fn add(&self, path: &str, order: &mut Vec<String>) {
        if order.iter().any(|have| have == path) {
            return;
        }
        // modules.dep lists a module's needs so that the last one must be loaded first.
        for need in self.needs(path).iter().rev() {
            if !order.contains(need) {
                order.push(need.clone());
            }
        }
        order.push(path.to_owned());
    }
}

/// A module's name: the file's without folder and endings, with underscores as the kernel writes it.
pub(super) fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko")
        .map_or(file, |(stem, _)| stem)
        .replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/block/virtio-blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
";

    #[test]
    fn a_module_comes_after_what_it_needs_and_only_once() {
        let modules = Modules::parse(DEP, "");
        let order = modules.closure(&["virtio_net", "virtio_blk"]).unwrap();
        let names: Vec<String> = order.iter().map(|path| name(path)).collect();
        assert_eq!(
            names,
            [
                "failover",
                "net_failover",
                "virtio",
                "virtio_ring",
                "virtio_net",
                "virtio_blk"
            ]
        );
    }

    #[test]
    fn built_in_modules_need_no_file() {
        let modules = Modules::parse(DEP, "kernel/fs/ext4/ext4.ko\n");
        assert!(modules.closure(&["ext4"]).unwrap().is_empty());
    }

    #[test]
    fn a_missing_module_is_named() {
        let error = Modules::parse(DEP, "")
            .closure(&["virtio_sea"])
            .unwrap_err();
        assert!(error.to_string().contains("virtio_sea"), "{error}");
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(name("kernel/a/virtio-blk.ko.zst"), "virtio_blk");
        assert_eq!(name("virtio_net"), "virtio_net");
    }
}
