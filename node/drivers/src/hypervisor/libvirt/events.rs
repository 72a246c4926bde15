//! libvirt's events, of which this driver wants two facts: that something changed, so that the inventory is read again, and
//! which domains a live migration took away, which nothing says later of one that left no definition behind.
//!
//! The only unsafe code of the driver: `virt` does not wrap event registration. A callback runs on the event loop's
//! thread, touches nothing but [`News`], whose lock is only ever held for a moment, and so can neither block nor panic.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{c_char, c_int, c_uchar, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use quorumfence_machine::InstanceId;
use tokio::sync::Notify;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// Most domains that are remembered as migrated, the last ones: of those before it was told long ago.
const MIGRATED_MAX: usize = 1024;

/// What libvirt's events told.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Something changed.
    pub(super) change: Notify,
    migrated: Mutex<VecDeque<Migrated>>,
}

/// A domain that a live migration took away.
#[derive(Debug, Clone, Copy)]
struct Migrated {
    instance: InstanceId,
    /// Whether another migration is bringing it back. It has not left for good before it runs here again.
    comes_back: bool,
}

impl News {
    /// Returns the domains that a live migration took away, and that did not come back since.
    pub(super) fn migrated(&self) -> BTreeSet<InstanceId> {
        self.lock().iter().map(|row| row.instance).collect()
    }

    /// Takes a lifecycle event (`virDomainEventType`) and its detail.
    fn lifecycle(&self, instance: InstanceId, event: c_int, detail: c_int) {
        let is = |number: u32, of: c_int| c_int::try_from(number) == Ok(of);
        let mut migrated = self.lock();
        let known = migrated.iter().position(|row| row.instance == instance);
        if is(sys::VIR_DOMAIN_EVENT_STOPPED, event) && is(sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED, detail) {
            known.and_then(|at| migrated.remove(at));
            let surplus = (migrated.len() + 1).saturating_sub(MIGRATED_MAX);
            migrated.drain(..surplus);
            migrated.push_back(Migrated { instance, comes_back: false });
            return;
        }
        let Some((at, row)) = known.and_then(|at| Some((at, migrated.get_mut(at)?))) else { return };
        let begins_to_come =
            is(sys::VIR_DOMAIN_EVENT_STARTED, event) && is(sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED, detail);
        let failed_to_come = row.comes_back && is(sys::VIR_DOMAIN_EVENT_STOPPED, event);
        if begins_to_come || failed_to_come {
            row.comes_back = begins_to_come;
            return;
        }
        // One that was paused when it left comes back paused.
        let came_paused = row.comes_back
            && is(sys::VIR_DOMAIN_EVENT_SUSPENDED, event)
            && is(sys::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED, detail);
        let kinds = [sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_RESUMED, sys::VIR_DOMAIN_EVENT_STOPPED];
        if came_paused || kinds.into_iter().any(|kind| is(kind, event)) {
            migrated.remove(at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Migrated>> {
        self.migrated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// Tells `news` of every lifecycle event, and wakes it at every change of metadata and when the connection ends.
    pub(super) fn register(connect: Connect, news: &Arc<News>) -> Result<Self, Error> {
        let mut watch = Self { connect, callbacks: Vec::new() };
        watch.add(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, generic_lifecycle(), news)?;
        watch.add(sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, generic_metadata(), news)?;
        watch.add_close(news)?;
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
        news: &Arc<News>,
    ) -> Result<(), Error> {
        let event = c_int::try_from(event).expect("libvirt has fewer than 2^31 kinds of events");
        let opaque = opaque(news);
        // SAFETY: the connection is open and referenced by `self`; a null domain means all domains; `callback` has the
        // signature that belongs to `event`; `opaque` is an Arc<News> that `release` gives back exactly once, when
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
    fn add_close(&mut self, news: &Arc<News>) -> Result<(), Error> {
        let opaque = opaque(news);
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

fn opaque(news: &Arc<News>) -> *mut c_void {
    Arc::into_raw(Arc::clone(news)).cast_mut().cast()
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
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let mut uuid = InstanceId([0; 16]);
    // SAFETY: libvirt passes a domain that lives as long as the call, and writes VIR_UUID_BUFLEN bytes, which are 16. It
    // reads them from the domain and asks nobody.
    let is_known = unsafe { sys::virDomainGetUUID(domain, uuid.0.as_mut_ptr().cast::<c_uchar>()) } == 0;
    // SAFETY: `opaque` is the Arc<News> of the registration, alive until `release`.
    let news = unsafe { news(opaque) };
    if is_known {
        news.lifecycle(uuid, event, detail);
    }
    news.change.notify_one();
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
    // SAFETY: `opaque` is the Arc<News> of the registration, alive until `release`.
    unsafe { news(opaque) }.change.notify_one();
}

#[expect(unsafe_code, reason = "called by libvirt")]
unsafe extern "C" fn on_close(_: sys::virConnectPtr, _: c_int, opaque: *mut c_void) {
    // SAFETY: `opaque` is the Arc<News> of the registration, alive until `release`.
    unsafe { news(opaque) }.change.notify_one();
}

#[expect(unsafe_code, reason = "reads the pointer that libvirt hands back")]
unsafe fn news<'a>(opaque: *mut c_void) -> &'a News {
    // SAFETY: the caller guarantees a live Arc<News>; it is borrowed, not consumed.
    unsafe { &*opaque.cast::<News>() }
}

#[expect(unsafe_code, reason = "called by libvirt when it drops a registration")]
unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: `opaque` came from Arc::into_raw and is given back once.
    drop(unsafe { Arc::from_raw(opaque.cast::<News>()) });
}

#[cfg(test)]
mod tests {
    use std::ffi::c_int;

    use quorumfence_machine::InstanceId;
    use virt::sys;

    use super::{MIGRATED_MAX, News};

    const VM: InstanceId = InstanceId([1; 16]);

    fn after(events: &[(u32, u32)]) -> bool {
        let news = News::default();
        for (event, detail) in events {
            news.lifecycle(VM, c_int::try_from(*event).unwrap(), c_int::try_from(*detail).unwrap());
        }
        news.migrated().contains(&VM)
    }

    #[test]
    fn only_what_a_migration_took_away_and_did_not_come_back_has_migrated() {
        let left = (sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
        let shut_down = (sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
        let coming = (sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED);
        let came = (sys::VIR_DOMAIN_EVENT_RESUMED, sys::VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
        let came_paused = (sys::VIR_DOMAIN_EVENT_SUSPENDED, sys::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
        let failed = (sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_FAILED);
        let booted = (sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_STARTED_BOOTED);
        let forgotten = (sys::VIR_DOMAIN_EVENT_UNDEFINED, sys::VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
        for (events, has_migrated) in [
            (&[left][..], true),
            (&[left, forgotten], true),
            (&[coming, came, left], true),
            (&[left, coming], true),
            (&[left, coming, failed], true),
            (&[left, coming, failed, coming, came], false),
            (&[left, coming, came, left], true),
            (&[shut_down], false),
            (&[left, coming, came], false),
            (&[left, coming, came_paused], false),
            (&[left, coming, came_paused, shut_down], false),
            (&[came_paused, left], true),
            (&[left, booted], false),
            (&[left, shut_down], false),
            (&[], false),
        ] {
            assert_eq!(after(events), has_migrated, "{events:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let news = News::default();
        let [event, detail] = [sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED]
            .map(|number| c_int::try_from(number).unwrap());
        for number in 0..=MIGRATED_MAX {
            news.lifecycle(InstanceId((number as u128).to_be_bytes()), event, detail);
        }
        let [oldest, last] = [0, MIGRATED_MAX].map(|number| InstanceId((number as u128).to_be_bytes()));
        let migrated = news.migrated();
        assert_eq!((migrated.len(), migrated.contains(&oldest), migrated.contains(&last)), (MIGRATED_MAX, false, true));
    }
}
