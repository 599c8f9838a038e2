"""What is said in mails, and how they are delivered."""
