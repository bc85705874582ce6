//! Scenarios and the streaming client.
