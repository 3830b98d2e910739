extern std::vector<creditlib::data::Batch> training, held_out;
