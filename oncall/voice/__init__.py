"""Voice calls through a Twilio-compatible HTTP API: client, instructions (TwiML), signature."""
