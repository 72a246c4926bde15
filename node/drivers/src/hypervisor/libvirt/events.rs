//! libvirt's events, of which this driver wants only the fact: something changed, read the inventory again.
//!
//! The only unsafe code of the driver: `virt` does not wrap event registration. A callback runs on the event loop's
//! thread, touches nothing but a [`Notify`], and so can neither block nor panic.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::Notify;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// Starts libvirt's event loop once per process. It MUST run before the first connection is opened.
pub(super) fn run_loop() -> Result<(), Error> {
    static LOOP: OnceLock<Result<(), Error>> = OnceLock::new();
    LOOP.get_or_init(|| {
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl()?;
        thread::Builder::new()
            .name("libvirt-events".into())
            .spawn(|| {
                loop {
                    if let Err(error) = virt::event::event_run_default_impl() {
                        tracing::error!(%error, "libvirt's event loop failed one turn");
                        thread::yield_now();
                    }
                }
            })
            .expect("a process that cannot start one thread cannot run an agent");
        Ok(())
    })
    .clone()
}

/// An open connection with its event registrations. Dropping it may block as long as libvirt does.
#[derive(Debug)]
pub(super) struct Watched {
    connect: Connect,
    callbacks: Vec<c_int>,
}

impl Watched {
    /// Wakes `change` at every lifecycle event, at every change of metadata, and when the connection ends.
    pub(super) fn register(connect: Connect, change: &Arc<Notify>) -> Result<Self, Error> {
        let mut watch = Self { connect, callbacks: Vec::new() };
        watch.add(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, generic_lifecycle(), change)?;
        watch.add(sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, generic_metadata(), change)?;
        watch.add_close(change)?;
        Ok(watch)
    }

    pub(super) fn connect(&self) -> &Connect {
        &self.connect
    }

    #[expect(unsafe_code, reason = "virt 0.5 does not wrap virConnectDomainEventRegisterAny")]
    fn add(
        &mut self,
        event: sys::virDomainEventID,
        callback: sys::virConnectDomainEventGenericCallback,
        change: &Arc<Notify>,
    ) -> Result<(), Error> {
        let event = c_int::try_from(event).expect("libvirt has fewer than 2^31 kinds of events");
        let opaque = opaque(change);
        // SAFETY: the connection is open and referenced by `self`; a null domain means all domains; `callback` has the
        // signature that belongs to `event`; `opaque` is an Arc<Notify> that `release` gives back exactly once, when
        // libvirt drops the registration.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                self.connect.as_ptr(),
                ptr::null_mut(),
                event,
                callback,
                opaque,
                Some(release),
            )
        };
        if id < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt calls `release` only for registrations that it accepted, so this is the one owner.
            unsafe { release(opaque) };
            return Err(error);
        }
        self.callbacks.push(id);
        Ok(())
    }

    #[expect(unsafe_code, reason = "virt 0.5 does not wrap virConnectRegisterCloseCallback")]
    fn add_close(&mut self, change: &Arc<Notify>) -> Result<(), Error> {
        let opaque = opaque(change);
        // SAFETY: as in `add`; `on_close` has the signature of a close function.
        let answer = unsafe {
            sys::virConnectRegisterCloseCallback(self.connect.as_ptr(), Some(on_close), opaque, Some(release))
        };
        if answer < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt calls `release` only for registrations that it accepted, so this is the one owner.
            unsafe { release(opaque) };
            return Err(error);
        }
        Ok(())
    }
}

impl Drop for Watched {
    #[expect(unsafe_code, reason = "virt 0.5 does not wrap the removal of callbacks")]
    fn drop(&mut self) {
        for callback in &self.callbacks {
            // SAFETY: the connection is referenced by `self` and the callback was registered with it. An error means that
            // the connection is gone, and libvirt has then dropped the registration itself.
            unsafe { sys::virConnectDomainEventDeregisterAny(self.connect.as_ptr(), *callback) };
        }
        // SAFETY: the connection is referenced by `self`; `on_close` is what was registered, if anything was.
        unsafe { sys::virConnectUnregisterCloseCallback(self.connect.as_ptr(), Some(on_close)) };
    }
}

fn opaque(change: &Arc<Notify>) -> *mut c_void {
    Arc::into_raw(Arc::clone(change)).cast_mut().cast()
}

#[expect(unsafe_code, reason = "libvirt takes every callback as a generic one")]
fn generic_lifecycle() -> sys::virConnectDomainEventGenericCallback {
    type Lifecycle = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
    let callback: Lifecycle = on_lifecycle;
    // SAFETY: libvirt casts it back to this type before it calls it for VIR_DOMAIN_EVENT_ID_LIFECYCLE.
    Some(unsafe { std::mem::transmute::<Lifecycle, GenericCallback>(callback) })
}

#[expect(unsafe_code, reason = "libvirt takes every callback as a generic one")]
fn generic_metadata() -> sys::virConnectDomainEventGenericCallback {
    type Metadata = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, *const c_char, *mut c_void);
    let callback: Metadata = on_metadata;
    // SAFETY: libvirt casts it back to this type before it calls it for VIR_DOMAIN_EVENT_ID_METADATA_CHANGE.
    Some(unsafe { std::mem::transmute::<Metadata, GenericCallback>(callback) })
}

type GenericCallback = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);

#[expect(unsafe_code, reason = "called by libvirt")]
unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is the Arc<Notify> of the registration, alive until `release`.
    unsafe { wake(opaque) };
    0
}

#[expect(unsafe_code, reason = "called by libvirt")]
unsafe extern "C" fn on_metadata(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the Arc<Notify> of the registration, alive until `release`.
    unsafe { wake(opaque) };
}

#[expect(unsafe_code, reason = "called by libvirt")]
unsafe extern "C" fn on_close(_: sys::virConnectPtr, _: c_int, opaque: *mut c_void) {
    // SAFETY: `opaque` is the Arc<Notify> of the registration, alive until `release`.
    unsafe { wake(opaque) };
}

#[expect(unsafe_code, reason = "reads the pointer that libvirt hands back")]
unsafe fn wake(opaque: *mut c_void) {
    // SAFETY: the caller guarantees a live Arc<Notify>; it is borrowed, not consumed.
    let change = unsafe { &*opaque.cast::<Notify>() };
    change.notify_one();
}

#[expect(unsafe_code, reason = "called by libvirt when it drops a registration")]
unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: `opaque` came from Arc::into_raw and is given back once.
    drop(unsafe { Arc::from_raw(opaque.cast::<Notify>()) });
}
