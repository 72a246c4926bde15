//! `Debug` of messages that hold a secret in clear: the secret is never written.

use std::fmt::{Debug, Formatter, Result};

use crate::pb::{ClearDevice, ControllerSecrets, JoinRequest, TokenCreateReply};

impl Debug for JoinRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("JoinRequest").field("token", &self.token).field("joiner", &self.joiner).finish_non_exhaustive()
    }
}

impl Debug for ControllerSecrets {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ControllerSecrets").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Debug for TokenCreateReply {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("TokenCreateReply").field("at", &self.at).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Debug for ClearDevice {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ClearDevice")
            .field("driver", &self.driver)
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
