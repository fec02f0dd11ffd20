//! Lines of the console that mean the end of a guest or of a protection domain.

/// Something ended that should not have: the line that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A VMM stopped its guest.
    Guest {
        /// The guest's name.
        name: String,
        /// Why.
        cause: String,
    },
    /// A PD faulted or panicked; the line of the kernel, the monitor or the PD.
    Domain(String),
}

/// How a VMM says that it stopped its guest for good.
const STOPPED: (&str, &str) = ("sel4cp-vmm: guest ", " stopped: ");

/// How lines about a domain that is no more look: of the supervisor, of the bundled kernel, and of the Microkit's
/// monitor. A kernel prints where the console happens to be, also in the middle of a line; what the supervisor says about
/// the serial driver is printed by the kernel.
const DOMAIN: &[(&str, &str)] = &[
    ("sel4cp-supervisor: PD \"", "\" faulted: "),
    ("kernel: PD \"", "\" faulted: "),
    ("kernel: panic", ""),
    ("MON|ERROR: ", ""),
];

/// How the last line of a domain goes on after its name, when it panics or gives up: then it faults on purpose.
const LAST_WORDS: [&str; 2] = [": panic", ": stopped: "];

impl Fault {
    /// The line, of the console before this fault, in which the domain itself says why it ended.
    pub fn last_words<'a>(&self, console: &'a str) -> Option<&'a str> {
        let Self::Domain(report) = self else {
            return None;
        };
        let (name, _) = report.split_once("PD \"")?.1.split_once('"')?;
        console.lines().rev().find(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            LAST_WORDS.iter().any(|words| rest.starts_with(words))
        })
    }

    /// Reads one line of the console.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix(STOPPED.0)
            && let Some((name, cause)) = rest.split_once(STOPPED.1)
            && !name.contains(' ')
        {
            return Some(Self::Guest {
                name: name.to_owned(),
                cause: cause.to_owned(),
            });
        }
        DOMAIN.iter().find_map(|(start, middle)| {
            let at = line.find(start)?;
            let report = line.get(at..)?;
            report
                .contains(middle)
                .then(|| Self::Domain(report.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_guest_is_recognised_with_its_cause() {
        let fault = Fault::parse("sel4cp-vmm: guest linux stopped: write to 0xdead0000\r").unwrap();
        let expected = Fault::Guest {
            name: "linux".into(),
            cause: "write to 0xdead0000".into(),
        };
        assert_eq!(fault, expected);
    }

    #[test]
    fn the_last_words_of_a_domain_are_found() {
        let fault = Fault::parse("sel4cp-supervisor: PD \"a_net\" faulted: x").unwrap();
        let console = "a_net: panic at y: why\n[   0.1] b\na_net_driver: stopped: z\n";
        assert_eq!(fault.last_words(console), Some("a_net: panic at y: why"));
        assert_eq!(fault.last_words("a_net: reset\n a_net: panic: no\n"), None);
    }

    #[test]
    fn ordinary_lines_are_not_faults() {
        assert_eq!(Fault::parse("sel4cp-vmm: guest linux powered off"), None);
        assert_eq!(Fault::parse("sel4cp-vmm: guest linux rebooting"), None);
        assert_eq!(Fault::parse("[    1.0] Kernel panic - not syncing"), None);
    }

    #[test]
    fn a_guest_cannot_easily_pretend() {
        assert_eq!(
            Fault::parse("# echo sel4cp-vmm: guest linux stopped: no"),
            None
        );
    }

    #[test]
    fn faults_of_domains_are_recognised_wherever_they_are_printed() {
        let line = "root@linux:~# kernel: PD \"linux_net\" faulted: data abort at 0x0";
        let report = "kernel: PD \"linux_net\" faulted: data abort at 0x0";
        assert_eq!(Fault::parse(line), Some(Fault::Domain(report.into())));
        assert!(Fault::parse("MON|ERROR: received message 0x5").is_some());
        let report =
            "sel4cp-supervisor: PD \"linux_net\" faulted: user exception: undefined instruction";
        assert_eq!(
            Fault::parse(&format!("{report}\r")),
            Some(Fault::Domain(report.into()))
        );
        assert_eq!(Fault::parse("kernel: PD \"linux_net\" is fine"), None);
    }
}
