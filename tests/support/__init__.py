"""What tests share: small objects, tiny models, brokers, tokens, and waiting."""
