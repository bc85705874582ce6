//! What is still to be measured: a pure function of plan and history.
