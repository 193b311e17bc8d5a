"""`losa-bench pretrain`: drawn scenes, and the training of the backbone that ships with losa on them."""
