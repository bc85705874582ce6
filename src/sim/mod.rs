//! The simulated engine: an OpenAI-compatible server whose speed, cache, memory and failures follow its flags.
