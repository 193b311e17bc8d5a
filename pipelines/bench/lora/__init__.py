"""losa-bench lora: the accuracy of LoRA through the live backbone."""
