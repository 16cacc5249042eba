//! `function.wat`, `function.wasm`, `process.wasm`: code of a WebAssembly guest and what surrounds it.

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::id::EntryId;
use crate::schema::decoder::Decoder;
use crate::schema::fields::{Fields, fields};
use crate::schema::pool::{Pool, pool};
use crate::schema::process::{Command, command};
use crate::schema::read::{choice, count, list, non_empty, positive, reference, source, text, written};
use crate::schema::reference::Target;
use crate::schema::wasi::{Wasi, wasi};
use crate::source::SourceText;
use crate::yaml::Node;

/// A function in WebAssembly.
#[derive(Clone, Debug, PartialEq)]
pub struct WasmFunction {
    /// The code.
    pub guest: Guest,
    /// How many instances there are.
    pub pool: Pool,
    /// How a call's arguments and results are mapped.
    pub transport: Transport,
}

/// A process in WebAssembly.
#[derive(Clone, Debug, PartialEq)]
pub struct WasmProcess {
    /// The code.
    pub guest: Guest,
    /// How a call's arguments and results are mapped.
    pub transport: Transport,
    /// The command that starts it, if it is one.
    pub command: Option<Command>,
}

/// Code and what it may see: what functions and processes have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// Where the code is.
    pub code: Code,
    /// The export, as written: `compute`, `interface#function`.
    pub method: String,
    /// The signature or interface, for code that does not describe itself.
    pub wit: Option<SourceText>,
    /// Host interfaces it gets, as written.
    pub imports: Vec<String>,
    /// What it finds when it starts.
    pub wasi: Wasi,
    /// What it may use up.
    pub limits: Limits,
}

/// Where the code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// WebAssembly text.
    Text(SourceText),
    /// A binary in a file system.
    Binary {
        /// The `fs.*` entry.
        fs: EntryId,
        /// The path inside it.
        path: String,
        /// What the file must hash to.
        hash: Sha256,
    },
}

/// A SHA-256 digest; displays as `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// How a call's arguments and results are mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `payload`: one value per parameter.
    #[default]
    Payload,
    /// `wasi-http`: the HTTP request and response.
    WasiHttp,
}

/// What a guest may use up; absent limits have their default in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of a call.
    pub max_execution_ms: Option<u64>,
    /// Linear memory.
    pub max_memory_bytes: Option<u64>,
    /// Table elements.
    pub max_table_elements: Option<u64>,
    /// Instructions, in the engine's units.
    pub max_fuel: Option<u64>,
    /// Calls of calls.
    pub max_call_depth: Option<u32>,
    /// Bytes printed.
    pub max_stdout_bytes: Option<u64>,
    /// Resources held at once.
    pub max_resources: Option<u32>,
    /// Bytes that one crossing may make the host copy.
    pub max_host_bytes: Option<u64>,
    /// Bytes of the head of one HTTP message.
    pub max_http_header_bytes: Option<u64>,
    /// Bytes of the body of one HTTP message.
    pub max_http_body_bytes: Option<u64>,
    /// Memory above which a pooled instance is not kept; 0 keeps any.
    pub max_retained_memory_bytes: Option<u64>,
    /// Calls between looks at the memory of a pooled instance.
    pub retained_memory_check_interval: Option<u32>,
    /// Sockets open at once.
    pub max_open_sockets: Option<u32>,
    /// Time for one socket operation.
    pub socket_timeout_ms: Option<u64>,
}

impl Sha256 {
    /// Reads `sha256:` and 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let mut bytes = [0; 32];
        let mut digits = hex
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
        for byte in &mut bytes {
            *byte = digits.next()?? << 4 | digits.next()??;
        }
        digits.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
        let digits = self
            .0
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        formatter.write_str("sha256:")?;
        formatter.write_str(&digits.collect::<String>())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

pub(crate) fn text_function(decoder: &mut Decoder<'_>) -> Option<WasmFunction> {
    let mut entry = decoder.fields();
    let code = entry.required(decoder, "source", source).map(Code::Text);
    function(code, entry, decoder)
}

pub(crate) fn binary_function(decoder: &mut Decoder<'_>) -> Option<WasmFunction> {
    let mut entry = decoder.fields();
    let code = binary(&mut entry, decoder);
    function(code, entry, decoder)
}

fn function(code: Option<Code>, mut entry: Fields<'_>, decoder: &mut Decoder<'_>) -> Option<WasmFunction> {
    let guest = guest(code, &mut entry, decoder);
    let pool = entry.optional(decoder, "pool", fields(pool)).unwrap_or_default();
    let transport = transport(&mut entry, decoder);
    entry.finish(decoder);
    Some(WasmFunction {
        guest: guest?,
        pool,
        transport,
    })
}

pub(crate) fn process(decoder: &mut Decoder<'_>) -> Option<WasmProcess> {
    let mut entry = decoder.fields();
    let code = binary(&mut entry, decoder);
    let guest = guest(code, &mut entry, decoder);
    let _ = entry.optional(decoder, "pool", fields(pool));
    let transport = transport(&mut entry, decoder);
    entry.finish(decoder);
    let command = command(decoder);
    Some(WasmProcess {
        guest: guest?,
        transport,
        command,
    })
}

fn binary(entry: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Code> {
    let fs = entry.required(decoder, "fs", reference(Target::FileSystem));
    let path = entry.required(decoder, "path", non_empty);
    let hash = entry.required(decoder, "hash", hash);
    Some(Code::Binary {
        fs: fs?,
        path: path?,
        hash: hash?,
    })
}

fn guest(code: Option<Code>, entry: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Guest> {
    let method = entry.required(decoder, "method", non_empty);
    let wit = entry.optional(decoder, "wit", source);
    let imports = entry
        .optional(decoder, "imports", list(non_empty))
        .unwrap_or_default();
    let wasi = entry.optional(decoder, "wasi", fields(wasi)).unwrap_or_default();
    let limits = all_limits(entry, decoder);
    Some(Guest {
        code: code?,
        method: method?,
        wit,
        imports,
        wasi,
        limits,
    })
}

fn transport(entry: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Transport {
    let words = [
        ("payload", Transport::Payload),
        ("wasi-http", Transport::WasiHttp),
    ];
    entry
        .optional(decoder, "transport", choice(&words))
        .unwrap_or_default()
}

/// `limits`, or `options.limits` as newer documentation writes it.
fn all_limits(entry: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Limits {
    let direct = entry.optional(decoder, "limits", fields(limits));
    let optional = entry.optional(
        decoder,
        "options",
        fields(|options, decoder| options.optional(decoder, "limits", fields(limits))),
    );
    optional.or(direct).unwrap_or_default()
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `fields` reads")]
fn limits(limits: &mut Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Limits> {
    Some(Limits {
        max_execution_ms: limits.optional(decoder, "max_execution_ms", positive),
        max_memory_bytes: limits.optional(decoder, "max_memory_bytes", positive),
        max_table_elements: limits.optional(decoder, "max_table_elements", count),
        max_fuel: limits.optional(decoder, "max_fuel", positive),
        max_call_depth: limits.optional(decoder, "max_call_depth", positive),
        max_stdout_bytes: limits.optional(decoder, "max_stdout_bytes", count),
        max_resources: limits.optional(decoder, "max_resources", count),
        max_host_bytes: limits.optional(decoder, "max_host_bytes", positive),
        max_http_header_bytes: limits.optional(decoder, "max_http_header_bytes", positive),
        max_http_body_bytes: limits.optional(decoder, "max_http_body_bytes", positive),
        max_retained_memory_bytes: limits.optional(decoder, "max_retained_memory_bytes", count),
        retained_memory_check_interval: limits.optional(decoder, "retained_memory_check_interval", positive),
        max_open_sockets: limits.optional(decoder, "max_open_sockets", count),
        socket_timeout_ms: limits.optional(decoder, "socket_timeout_ms", positive),
    })
}

fn hash(node: &Node, decoder: &mut Decoder<'_>) -> Option<Sha256> {
    let resolved = text(node, decoder)?;
    if let Some(hash) = Sha256::parse(&resolved) {
        return Some(hash);
    }
    let message = format!(
        "`{}`: expected `sha256:` and 64 hex digits, found {} characters `{}`",
        decoder.path(),
        resolved.chars().count(),
        written(node)
    );
    decoder.report(
        Diagnostic::error("invalid-hash", message)
            .primary(node.written_span(), "")
            .help("`wippy wasm inspect FILE` prints the hash of a file"),
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_round_trip() {
        let text = format!("sha256:{}", "0af9".repeat(16));
        assert_eq!(Sha256::parse(&text).unwrap().to_string(), text);
        for bad in [
            "",
            "sha256:",
            "sha1:00",
            &text[..70],
            &format!("{text}0"),
            &text.replace('f', "g"),
        ] {
            assert_eq!(Sha256::parse(bad), None, "{bad}");
        }
    }
}
