"""What is said to the server: the SMTP and LMTP clients."""
