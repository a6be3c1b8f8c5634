//! The HTTP service through which backends publish
