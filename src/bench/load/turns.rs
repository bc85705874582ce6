//! Conversations in a closed loop: each turn carries the whole history, answers included.

use serde_json::{Value, json};

use crate::domain::Role;

use super::super::chat::{Keep, Reply};
use super::super::run::Timed;
use super::super::sender::Stop;
use super::closed::free_since_ms;
use super::crew::{Crew, Desk, RAMP, role};

/// The role of a measured request that begins a conversation.
pub(super) const FIRST_TURN: Role = Role::FirstTurn;

/// The role of a measured request that goes on with one.
pub(super) const LATER_TURN: Role = Role::LaterTurn;

/// What one user will say: per conversation the first messages, then the user's text of each further turn.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) opening: Vec<Value>,
    pub(super) follow_ups: Vec<Value>,
}

/// Starts one user per script of conversations.
pub(super) fn start(crew: &mut Crew, scripts: Vec<Vec<Conversation>>, timed: &Timed, output_tokens: u32) {
    for script in scripts {
        let (desk, timed) = (crew.desk(), timed.clone());
        crew.start(async move {
            let mut replies = Vec::new();
            let stopped = talk(&desk, &timed, script, output_tokens, &mut replies).await.err();
            (replies, stopped)
        });
    }
}

/// Holds the conversations one after the other. An answer that did not arrive whole ends its conversation: what would follow has
/// no history.
async fn talk(
    desk: &Desk,
    timed: &Timed,
    script: Vec<Conversation>,
    output_tokens: u32,
    replies: &mut Vec<Reply>,
) -> Result<(), Stop> {
    let requests = script.iter().map(|c| 1 + c.follow_ups.len()).sum();
    for conversation in script {
        let openings = conversation.opening.len();
        let mut history = conversation.opening;
        let mut follow_ups = conversation.follow_ups.into_iter();
        loop {
            let request = timed.request(Value::Array(history.clone()), output_tokens, Keep::Answer)?;
            let turn = if history.len() == openings { FIRST_TURN } else { LATER_TURN };
            let role = if role(replies.len(), requests) == RAMP { RAMP } else { turn };
            desk.send(&request, role, free_since_ms(replies), replies).await?;
            let Some(last) = replies.last() else { break };
            let (Some(answer), true) = (&last.answer, last.record.end.is_complete()) else { break };
            let Some(next) = follow_ups.next() else { break };
            history.push(json!({"role": "assistant", "content": answer.content}));
            history.push(next);
        }
    }
    Ok(())
}
