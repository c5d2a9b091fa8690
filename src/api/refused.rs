//! What the hub refuses, in words, codes and statuses. What the API itself refuses is `refusal.rs`.

use super::Refusal;
use crate::{
    app::socketio::ChannelError,
    hub::SubscribeError,
    model::{PublishError, StateError},
};

impl From<ChannelError> for Refusal {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Refused(StateError::Publish(error)) => Self::Publish(error),
            ChannelError::Refused(error) => Self::State(error),
            ChannelError::Busy => Self::Publish(PublishError::Busy),
            ChannelError::Late => Self::OwnerSilent,
        }
    }
}

/// Why a subscription is refused.
pub(super) fn subscribe_sentence(error: SubscribeError) -> String {
    match error {
        SubscribeError::Already => "this connection follows the channel already".into(),
        SubscribeError::TooMany => {
            "this connection follows as many channels as it may (limits.subscriptions_per_connection_max)"
                .into()
        }
        SubscribeError::ChannelsFull => PublishError::ChannelsFull.to_string(),
        SubscribeError::Busy => PublishError::Busy.to_string(),
        SubscribeError::BrokerUnavailable => PublishError::BrokerUnavailable.to_string(),
        SubscribeError::Withdrawn => "the subscription was ended before it had begun; subscribe again".into(),
    }
}

/// The HTTP status of what a channel's owner refuses of its state.
pub(super) fn state_status(error: StateError) -> u16 {
    match error {
        StateError::Unknown => 404,
        StateError::ConditionFailed => 412,
        StateError::NotCounter | StateError::Overflow | StateError::EnteredTooMany => 409,
        StateError::KeysFull | StateError::ChannelFull | StateError::ChannelsFull => 507,
        StateError::Full | StateError::MembersFull => 507,
        StateError::OverNodes => 501,
        StateError::Publish(_) => 503,
    }
}

/// Its code.
pub(super) fn state_code(error: StateError) -> &'static str {
    match error {
        StateError::OverNodes => "broker_unsupported",
        StateError::Unknown => "state_key_unknown",
        StateError::ConditionFailed => "condition_failed",
        StateError::NotCounter => "not_a_counter",
        StateError::Overflow => "counter_overflow",
        StateError::KeysFull => "state_keys_full",
        StateError::ChannelFull => "state_channel_full",
        StateError::ChannelsFull => "state_channels_full",
        StateError::Full => "state_full",
        StateError::MembersFull => "members_full",
        StateError::EnteredTooMany => "entered_full",
        StateError::Publish(PublishError::Busy) => "busy",
        StateError::Publish(PublishError::ChannelsFull) => "channels_full",
        StateError::Publish(PublishError::StorageBusy) => "storage_busy",
        StateError::Publish(PublishError::BrokerUnavailable) => "broker_unavailable",
        StateError::Publish(PublishError::BrokerUnknown) => "broker_outcome_unknown",
    }
}
