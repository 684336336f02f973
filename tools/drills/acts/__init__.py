"""What the scripts of drills do: acts of foreign clients, of operators, and of people who replay."""
