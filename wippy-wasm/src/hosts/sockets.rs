//! `wasi:sockets`: TCP, UDP and names, with every address and every name put before the guard.
//!
//! Six functions are where a guest says whom it wants to reach: what is linked for them asks first, for the context
//! of the call that runs just then, and only then does what the engine's own would do. A listening socket and a UDP
//! socket may answer whoever comes: that was decided when they were bound.

use std::net::SocketAddr;

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::{
    TrappableError,
    p2::{
        Network, TcpSocket, UdpSocket,
        bindings::sockets::{
            instance_network, ip_name_lookup,
            network::{self, ErrorCode, IpSocketAddress},
            tcp::{self, HostTcpSocket as _},
            tcp_create_socket,
            udp::{self, HostOutgoingDatagramStream as _, HostUdpSocket as _},
            udp_create_socket,
        },
    },
    sockets::{WasiSockets, WasiSocketsView as _},
};
use wippy_security::{authorize_with, is_private_address};
use wippy_wit::Value;

use crate::state::GuestState;

/// What a guest wants of an address.
#[derive(Clone, Copy)]
enum Use {
    Bind,
    Connect,
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let options = network::LinkOptions::default();
    instance_network::add_to_linker::<_, WasiSockets>(linker, GuestState::sockets)?;
    network::add_to_linker::<_, WasiSockets>(linker, &options, GuestState::sockets)?;
    ip_name_lookup::add_to_linker::<_, WasiSockets>(linker, GuestState::sockets)?;
    tcp::add_to_linker::<_, WasiSockets>(linker, GuestState::sockets)?;
    tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, GuestState::sockets)?;
    udp::add_to_linker::<_, WasiSockets>(linker, GuestState::sockets)?;
    udp_create_socket::add_to_linker::<_, WasiSockets>(linker, GuestState::sockets)?;
    guard_names(linker)?;
    guard_tcp(linker)?;
    guard_udp(linker)
}

// The versions below are those of the bindings above: a test asks a guest whether it is refused.

fn guard_names(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut names = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    names.func_wrap(
        "resolve-addresses",
        |mut store, (network, name): (Resource<Network>, String)| {
            let state = store.data_mut();
            let name = canonical(name);
            if !may(state, "wasi.sockets.resolve", &name, &Value::Nil) {
                return Ok((Err(ErrorCode::AccessDenied),));
            }
            reply(ip_name_lookup::Host::resolve_addresses(
                &mut state.sockets(),
                network,
                name,
            ))
        },
    )
}

fn guard_tcp(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.func_wrap_async(
        "[method]tcp-socket.start-bind",
        |mut store, (socket, network, address): (Resource<TcpSocket>, Resource<Network>, IpSocketAddress)| {
            Box::new(async move {
                let state = store.data_mut();
                if !may_use(state, Use::Bind, "tcp", address) {
                    return Ok((Err(ErrorCode::AccessDenied),));
                }
                reply(tcp::HostTcpSocket::start_bind(&mut state.sockets(), socket, network, address).await)
            })
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.start-connect",
        |mut store, (socket, network, address): (Resource<TcpSocket>, Resource<Network>, IpSocketAddress)| {
            let state = store.data_mut();
            if !may_use(state, Use::Connect, "tcp", address) {
                return Ok((Err(ErrorCode::AccessDenied),));
            }
            reply(state.sockets().start_connect(socket, network, address))
        },
    )
}

fn guard_udp(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap_async(
        "[method]udp-socket.start-bind",
        |mut store, (socket, network, address): (Resource<UdpSocket>, Resource<Network>, IpSocketAddress)| {
            Box::new(async move {
                let state = store.data_mut();
                if !may_use(state, Use::Bind, "udp", address) {
                    return Ok((Err(ErrorCode::AccessDenied),));
                }
                reply(udp::HostUdpSocket::start_bind(&mut state.sockets(), socket, network, address).await)
            })
        },
    )?;
    udp.func_wrap_async(
        "[method]udp-socket.stream",
        |mut store, (socket, remote): (Resource<UdpSocket>, Option<IpSocketAddress>)| {
            Box::new(async move {
                let state = store.data_mut();
                if remote.is_some_and(|address| !may_use(state, Use::Connect, "udp", address)) {
                    return Ok((Err(ErrorCode::AccessDenied),));
                }
                reply(state.sockets().stream(socket, remote).await)
            })
        },
    )?;
    udp.func_wrap(
        "[method]outgoing-datagram-stream.send",
        |mut store,
         (stream, datagrams): (Resource<udp::OutgoingDatagramStream>, Vec<udp::OutgoingDatagram>)| {
            let state = store.data_mut();
            // A datagram without an address goes where the stream was connected to.
            let mut remotes = datagrams.iter().filter_map(|datagram| datagram.remote_address);
            if remotes.any(|address| !may_use(state, Use::Connect, "udp", address)) {
                return Ok((Err(ErrorCode::AccessDenied),));
            }
            reply(state.sockets().send(stream, datagrams))
        },
    )
}

fn may_use(state: &GuestState, wanted: Use, protocol: &str, address: IpSocketAddress) -> bool {
    let address = SocketAddr::from(address);
    let action = match wanted {
        Use::Bind => "wasi.sockets.bind",
        Use::Connect => "wasi.sockets.connect",
    };
    let meta = Value::record([
        ("protocol", Value::string(protocol)),
        ("address", Value::string(address.ip().to_string())),
        ("port", Value::Integer(address.port().into())),
        ("private", Value::Boolean(is_private_address(address.ip()))),
    ]);
    may(state, action, &address.to_string(), &meta)
}

/// Asks the guard, which records what it refuses. While an instance is made there is nobody to ask for.
fn may(state: &GuestState, action: &str, resource: &str, meta: &Value) -> bool {
    let context = state.context.as_ref();
    context.is_some_and(|context| authorize_with(context, action, resource, meta).is_ok())
}

/// The form of a name that is looked up, so that no spelling of it passes a policy that another would not.
fn canonical(name: String) -> String {
    match url::Host::parse(&name) {
        Ok(url::Host::Domain(domain)) => domain.trim_end_matches('.').to_owned(),
        Ok(url::Host::Ipv4(address)) => address.to_string(),
        Ok(url::Host::Ipv6(address)) => address.to_string(),
        // Not a name: the lookup says so.
        Err(_) => name,
    }
}

/// An error code is the guest's answer; anything else is a trap.
fn reply<T>(result: Result<T, TrappableError<ErrorCode>>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
