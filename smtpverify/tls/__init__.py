"""Who is the server? Names, certificates, pins, trust, and the gate; knows nothing of SMTP."""
