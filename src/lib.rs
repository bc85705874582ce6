//! vgrid
