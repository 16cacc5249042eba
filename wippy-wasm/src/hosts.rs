//! Hosts: which import of an entry grants which interfaces, and how they are linked.
//!
//! An entry's linker holds exactly what its `imports` name. There is no shared linker that could leak one entry's
//! capabilities into another; only entries of one component that grant exactly the same share what was linked.

mod context;
mod files;
mod funcs;
mod http;
mod logger;
mod process;
mod sockets;
mod wasi;

use wasmtime::component::Linker;

use crate::{Error, error_contexts, exports::Surface, state::GuestState};

/// One word that an entry may put in its `imports`.
struct Host {
    import: &'static str,
    /// Other spellings.
    aliases: &'static [&'static str],
    /// The interfaces that it grants, without versions; a trailing `*` stands for any ending.
    interfaces: &'static [&'static [&'static str]],
    /// Whether its interfaces need a WASI context.
    wasi: bool,
    link: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
}

const CLI: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-*",
];

/// Streams cannot be waited on without polling, so the one grants the other.
const IO: &[&str] = &["wasi:io/error", "wasi:io/streams", "wasi:io/poll"];

const HOSTS: &[Host] = &[
    Host {
        import: "wasi:cli",
        aliases: &[],
        interfaces: &[CLI],
        wasi: true,
        link: wasi::cli,
    },
    Host {
        import: "wasi:io",
        aliases: &[],
        interfaces: &[IO],
        wasi: true,
        link: wasi::io,
    },
    Host {
        import: "wasi:poll",
        aliases: &[],
        interfaces: &[&["wasi:io/poll"]],
        wasi: true,
        link: wasi::poll,
    },
    Host {
        import: "wasi:clocks",
        aliases: &[],
        interfaces: &[&["wasi:clocks/wall-clock", "wasi:clocks/monotonic-clock"]],
        wasi: true,
        link: wasi::clocks,
    },
    Host {
        import: "wasi:filesystem",
        aliases: &[],
        interfaces: &[&["wasi:filesystem/types", "wasi:filesystem/preopens"]],
        wasi: true,
        link: wasi::filesystem,
    },
    Host {
        import: "wasi:random",
        aliases: &[],
        interfaces: &[&[
            "wasi:random/random",
            "wasi:random/insecure",
            "wasi:random/insecure-seed",
        ]],
        wasi: true,
        link: wasi::random,
    },
    Host {
        import: "wasi:sockets",
        aliases: &[],
        interfaces: &[&[
            "wasi:sockets/instance-network",
            "wasi:sockets/network",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/tcp*",
            "wasi:sockets/udp*",
        ]],
        wasi: true,
        link: sockets::link,
    },
    Host {
        import: "wasi:http",
        aliases: &[],
        interfaces: &[&["wasi:http/types", "wasi:http/outgoing-handler"]],
        wasi: true,
        link: http::link,
    },
    Host {
        import: "wasi_snapshot_preview1",
        aliases: &["wasi1"],
        interfaces: &[CLI, IO],
        wasi: true,
        link: wasi::preview1,
    },
    Host {
        import: "funcs",
        aliases: &["wippy:runtime/funcs"],
        interfaces: &[&["wippy:runtime/funcs"]],
        wasi: false,
        link: funcs::link,
    },
    Host {
        import: "wippy:runtime/context",
        aliases: &["context"],
        interfaces: &[&["wippy:runtime/context"]],
        wasi: false,
        link: context::link,
    },
    Host {
        import: "wippy:runtime/logger",
        aliases: &["logger"],
        interfaces: &[&["wippy:runtime/logger"]],
        wasi: false,
        link: logger::link,
    },
    Host {
        import: "process",
        aliases: &["wippy:runtime/process"],
        interfaces: &[&["wippy:runtime/process"]],
        wasi: false,
        link: process::link,
    },
];

impl Host {
    fn find(import: &str) -> Option<&'static Self> {
        HOSTS
            .iter()
            .find(|host| host.import == import || host.aliases.contains(&import))
    }

    fn grants(&self, interface: &str) -> bool {
        let interface = unversioned(interface);
        self.interfaces
            .iter()
            .copied()
            .flatten()
            .any(|granted| match granted.strip_suffix('*') {
                Some(start) => interface.starts_with(start),
                None => *granted == interface,
            })
    }
}

/// What an entry's `imports` amount to: the hosts that it grants, in the order of its words. Entries that grant the same
/// are equal, whichever spellings they use.
#[derive(Clone)]
pub(crate) struct Grants(Box<[&'static Host]>);

impl PartialEq for Grants {
    fn eq(&self, other: &Self) -> bool {
        // Each host has one word of its own.
        let import = |host: &&'static Host| host.import;
        self.0.iter().map(import).eq(other.0.iter().map(import))
    }
}

impl Grants {
    /// What an entry grants that declares `imports`, for a component with `surface`.
    ///
    /// # Errors
    /// Every import that does not exist, and every interface that the component needs and the entry does not grant.
    pub(crate) fn of(imports: &[String], surface: &Surface) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        let mut hosts: Vec<&'static Host> = Vec::new();
        for import in imports {
            match Host::find(import) {
                Some(host) if hosts.iter().any(|known| known.import == host.import) => {}
                Some(host) => hosts.push(host),
                None => errors.push(Error::UnknownImport {
                    import: import.clone(),
                    known: HOSTS.iter().map(|host| host.import.to_owned()).collect(),
                }),
            }
        }
        for interface in &surface.imports {
            if hosts.iter().any(|host| host.grants(interface)) {
                continue;
            }
            let interface = interface.clone();
            errors.push(match HOSTS.iter().find(|host| host.grants(&interface)) {
                Some(host) => Error::UndeclaredImport {
                    interface,
                    import: host.import.to_owned(),
                },
                None => Error::UnknownInterface { interface },
            });
        }
        if errors.is_empty() {
            Ok(Self(hosts.into()))
        } else {
            Err(errors)
        }
    }

    /// Makes a linker that holds exactly what is granted, for a component with `surface`.
    ///
    /// # Errors
    /// When the engine does not take a host.
    pub(crate) fn linker(
        &self,
        engine: &wasmtime::Engine,
        surface: &Surface,
    ) -> wasmtime::Result<Linker<GuestState>> {
        let mut linker = Linker::new(engine);
        // Two imports may grant the same interface.
        linker.allow_shadowing(true);
        for host in &self.0 {
            (host.link)(&mut linker)?;
        }
        if surface.has_error_contexts {
            error_contexts::link(&mut linker)?;
        }
        Ok(linker)
    }

    /// Whether instances need a WASI context.
    pub(crate) fn wasi(&self) -> bool {
        self.0.iter().any(|host| host.wasi)
    }

    /// Whether the guest acts for its caller, beyond computing: calls functions, opens connections.
    pub(crate) fn acts(&self) -> bool {
        let acts = |host: &Host| !host.wasi || matches!(host.import, "wasi:sockets" | "wasi:http");
        self.0.iter().any(|host| acts(host))
    }

    /// Whether the guest takes or makes HTTP requests.
    pub(crate) fn http(&self) -> bool {
        self.0.iter().any(|host| host.import == "wasi:http")
    }
}

/// The import that grants `interface`, if any does.
pub fn import_for(interface: &str) -> Option<&'static str> {
    HOSTS
        .iter()
        .find(|host| host.grants(interface))
        .map(|host| host.import)
}

/// Every interface that an entry can be granted, without its version, and the import that grants it.
pub fn interfaces() -> impl Iterator<Item = (&'static str, &'static str)> {
    let granted = |host: &'static Host| {
        host.interfaces
            .iter()
            .copied()
            .flatten()
            .map(|name| (*name, host.import))
    };
    HOSTS.iter().flat_map(granted)
}

/// Whether `interface` is one of WASI 0.3, whose functions are asynchronous.
pub(crate) fn is_wasi_0_3(interface: &str) -> bool {
    let version = interface.split_once('@').map(|(_, version)| version);
    interface.starts_with("wasi:") && version.is_some_and(|version| version.starts_with("0.3."))
}

fn unversioned(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}
