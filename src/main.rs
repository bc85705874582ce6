//! The `vgrid` binary.

fn main() -> std::process::ExitCode {
    vgrid::run()
}
