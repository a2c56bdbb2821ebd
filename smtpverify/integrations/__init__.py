"""Other programs' ways to send mail, through smtpverify; each module is imported only when it is used."""
