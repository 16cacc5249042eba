//! What an entry's `wasi` section gives its guests: arguments, working directory, environment, mounts, streams.

use std::{path::PathBuf, sync::Arc};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};
use wippy_registry::EntryId;
use wippy_security::{CallError, ErrorKind};

use crate::{
    Limits,
    output::{Journal, LogStream},
    state::Wasi,
};

/// Looks a variable up in the environment registry at call time.
pub type EnvironmentLookup = Arc<dyn Fn(&EntryId) -> Option<String> + Send + Sync>;

/// The `wasi` section of an entry.
#[derive(Clone, Default)]
pub struct WasiConfig {
    /// The arguments, without the program's name.
    pub args: Vec<String>,
    /// The working directory, absolute.
    pub cwd: Option<String>,
    /// Variables.
    pub env: Vec<EnvironmentVariable>,
    /// Directories.
    pub mounts: Vec<Mount>,
    /// Where the values of variables come from.
    pub lookup: Option<EnvironmentLookup>,
}

impl std::fmt::Debug for WasiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasiConfig")
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .field("env", &self.env)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// A variable that guests see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// Where its value comes from.
    pub id: EntryId,
    /// What guests call it.
    pub name: String,
    /// Whether a call fails when it has no value.
    pub required: bool,
}

/// A directory that guests see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it lies on the host.
    pub host: PathBuf,
    /// Where guests see it.
    pub guest: String,
    /// Whether they can only read it.
    pub read_only: bool,
    /// The entry that it is, for messages.
    pub id: EntryId,
}

/// Where a guest's standard streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stdio {
    /// To the log, line by line; stdin is empty.
    #[default]
    Log,
    /// To the process's own.
    Terminal,
}

/// Makes the WASI side of a fresh instance of `id`.
///
/// # Errors
/// When a required variable has no value, or a mounted directory is gone.
pub(crate) fn instance(
    id: &EntryId,
    config: &WasiConfig,
    extra_args: &[String],
    stdio: Stdio,
    limits: &Limits,
    journal: Option<&Arc<Journal>>,
) -> Result<Wasi, CallError> {
    let mut builder = WasiCtxBuilder::new();
    // Whether an address or a name may be used is asked before the engine is: see `hosts/sockets.rs`.
    builder
        .inherit_network()
        .allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true);
    builder.arg(id.name());
    builder.args(&config.args).args(extra_args);
    if let Some(cwd) = &config.cwd {
        builder.initial_cwd(cwd);
    }
    for variable in &config.env {
        match config.lookup.as_ref().and_then(|lookup| lookup(&variable.id)) {
            Some(value) => {
                builder.env(&variable.name, value);
            }
            None if variable.required => {
                let message = format!("{id}: the required variable `{}` has no value", variable.id);
                return Err(CallError::new(ErrorKind::NotFound, message));
            }
            None => {}
        }
    }
    for mount in &config.mounts {
        let permissions = if mount.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        builder
            .preopened_dir(&mount.host, &mount.guest, permissions)
            .map_err(|_| {
                CallError::new(
                    ErrorKind::Unavailable,
                    format!("{id}: the directory of `{}` cannot be opened", mount.id),
                )
            })?;
    }
    match stdio {
        Stdio::Terminal => {
            builder.inherit_stdio();
        }
        Stdio::Log => {
            if let Some(journal) = journal {
                builder.stdout(LogStream::new(journal.clone(), "stdout"));
                builder.stderr(LogStream::new(journal.clone(), "stderr"));
            }
        }
    }
    builder.max_random_size(u64::try_from(limits.host_bytes).unwrap_or(u64::MAX));
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.resources);
    Ok(Wasi {
        ctx: builder.build(),
        table,
    })
}
