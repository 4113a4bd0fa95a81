//! CPU kernels, as an extension of burn's backends.
