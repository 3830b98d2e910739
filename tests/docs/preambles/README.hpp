extern torch::nn::Sequential first, second, third, head;
