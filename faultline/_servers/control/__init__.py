"""A server of HTTP for programs that control faultline."""
