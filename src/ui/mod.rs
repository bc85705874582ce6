//! Progress bars or plain lines from events.
