//! Redis servers of every topology for tests, as plain processes on free ports
