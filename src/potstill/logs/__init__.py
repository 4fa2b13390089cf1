"""What people have in logs and files, as messages: one reader of every form."""
