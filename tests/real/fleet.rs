//! The commands for people who look after many switches, on a real API server.
