//! The embedded broker of the demo. To come.
