"""What law and person say of personal data: consent strings read, and one judgement for both doors."""
