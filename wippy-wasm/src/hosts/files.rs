//! Opening a file, with a look at what it is first.
//!
//! Opening a pipe or a device can wait for ever, and on a thread: no deadline reaches it there, and when enough guests
//! have done it no thread is left for anybody. Guests cannot make such files, only find them where somebody on the
//! host left them, so they get a look before opening. That look can be raced by a rename, but only where such a file
//! lies in a mount that guests may write to.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView as _},
    p2::{
        FsResult,
        bindings::filesystem::types::{
            DescriptorFlags, DescriptorType, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
        },
    },
};

use crate::state::GuestState;

/// As the bindings name it; any 0.2 version that a guest imports is found by it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// The arguments of `open-at`.
type Opening = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

/// Puts our `open-at` in the place of the one that was linked before.
pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.instance(TYPES)?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, GuestState>, opening: Opening| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                let opened = match open(&mut files, opening).await {
                    Ok(opened) => Ok(opened),
                    Err(error) => Err(files.convert_error_code(error)?),
                };
                Ok((opened,))
            })
        },
    )
}

async fn open(files: &mut WasiFilesystemCtxView<'_>, opening: Opening) -> FsResult<Resource<Descriptor>> {
    let (directory, path_flags, path, open_flags, flags) = opening;
    let again = Resource::new_borrow(directory.rep());
    // What cannot be looked at may still be made; opening says what is wrong otherwise.
    if let Ok(stat) = files.stat_at(again, path_flags, path.clone()).await
        && waits(stat.type_)
    {
        return Err(ErrorCode::Unsupported.into());
    }
    files
        .open_at(directory, path_flags, path, open_flags, flags)
        .await
}

/// Whether opening or reading such a file may wait for somebody else. Pipes have no type of their own here.
fn waits(kind: DescriptorType) -> bool {
    !matches!(
        kind,
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
    )
}
