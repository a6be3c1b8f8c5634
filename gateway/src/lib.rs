//! The node that holds client connections
